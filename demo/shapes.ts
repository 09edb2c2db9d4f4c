/** The shapes and colours of the demo's picture, as SVG. */

export const WIDTH = 1240;
export const LEFT = 112;
export const RIGHT = 28;
export const BAR = 17;

/** The colours differ in hue and in lightness, so that every eye tells them apart. White letters can be read on each colour. */
const COLOURS = ['#3b6fb6', '#c8621b', '#3c8a4b', '#8a4fa3', '#1f8a99', '#b23a64'];
export const colourOf = (lambda: number): string => COLOURS[(lambda - 1) % COLOURS.length] ?? '#555';

export const INK = '#1f2933';
export const FAINT = '#66727f';

export const round = (value: number): number => Math.round(value * 10) / 10;

export const xml = (text: string): string => text.replaceAll('&', '&amp;').replaceAll('<', '&lt;');

/** Estimates the width of a text: fonts differ. */
export const widthOf = (text: string): number => text.length * 6.6;

export function text(content: string, x: number, y: number, attributes: string): string {
  return `<text x="${x}" y="${y}" ${attributes}>${xml(content)}</text>`;
}

export const label = (name: string, y: number, colour: string, weight: number): string =>
  text(name, LEFT - 12, y + 12.5, `text-anchor="end" font-size="12.5" font-weight="${weight}" fill="${colour}"`);

export const title = (words: string, y: number): string =>
  text(words, LEFT, y, `font-size="14" font-weight="600" fill="${INK}"`);

/** Shades every other row, so that the eye finds its way back to the name. */
export function band(top: number, step: number, count: number): string[] {
  return Array.from({ length: count }, (_, index) =>
    index % 2 === 0
      ? `<rect x="${LEFT}" y="${top + index * step}" width="${WIDTH - LEFT - RIGHT}" height="${step}" fill="#f6f8fa"/>`
      : '',
  );
}

export const hatch = (lambda: number): string =>
  `<pattern id="lost-${lambda}" width="6" height="6" patternTransform="rotate(45)" patternUnits="userSpaceOnUse">` +
  `<rect width="6" height="6" fill="${colourOf(lambda)}" opacity="0.16"/>` +
  `<rect width="2.4" height="6" fill="${colourOf(lambda)}"/></pattern>`;

export const ICE =
  '<pattern id="ice" width="7" height="7" patternTransform="rotate(-45)" patternUnits="userSpaceOnUse">' +
  '<rect width="7" height="7" fill="#dff1fb"/><rect width="1.4" height="7" fill="#7fbfe0"/></pattern>';

export const closedBlock = (x: number, width: number, y: number): string =>
  `<rect x="${x}" y="${y + 0.5}" width="${width}" height="${BAR - 1}" fill="#eef1f4" stroke="#8b97a3" stroke-dasharray="3 2.5"/>`;

export const iceBlock = (from: number, to: number, y: number): string =>
  `<rect x="${from}" y="${y}" width="${round(Math.max(0, to - from))}" height="${BAR}" fill="url(#ice)" stroke="#4a9cc7"/>`;

export const HALO = 'stroke="#fff" stroke-width="3.5" stroke-linejoin="round" paint-order="stroke"';

export const cross = (x: number, y: number): string =>
  `<g transform="translate(${x} ${y})"><circle r="8" fill="#a4161a" stroke="#fff" stroke-width="1.5"/>` +
  '<path d="M-3.2-3.2 3.2 3.2M-3.2 3.2 3.2-3.2" stroke="#fff" stroke-width="2" stroke-linecap="round"/></g>';

export const snowflake = (x: number, y: number): string =>
  `<g transform="translate(${x} ${y})"><circle r="8" fill="#0b78ad" stroke="#fff" stroke-width="1.5"/>` +
  '<path d="M0-5V5M-4.3-2.5 4.3 2.5M-4.3 2.5 4.3-2.5" stroke="#fff" stroke-width="1.5" stroke-linecap="round"/></g>';

export const busyTick = (x: number, y: number, colour: string): string =>
  `<line x1="${x}" x2="${x}" y1="${y}" y2="${y + 5}" stroke="${colour}" stroke-width="1.8"/>`;
