/** The cost of a million tasks with so many workers. */
interface CostPoint {
  readonly workers: number;
  readonly dollars: number;
}

interface Curve {
  readonly name: string;
  readonly colour: string;
  /** The side of its points on which the prices stand: -1 is left, 1 is right. */
  readonly side: number;
  readonly points: readonly CostPoint[];
}

/**
 * Draws cost against workers, both on a logarithmic scale.
 * @param floor the cost of the two writes that each task needs
 */
export function costChart(curves: readonly Curve[], floor: number): string {
  const [width, height, left, right, top, bottom] = [800, 460, 70, 220, 70, 70];
  const [xTicks, yTicks] = [
    [2, 10, 50, 200],
    [1, 2, 5, 10, 20, 50, 100],
  ];
  const scale = (value: number, [from, to]: [number, number]) => Math.log(value / from) / Math.log(to / from);
  const x = (workers: number) => left + scale(workers, [1.4, 200]) * (width - left - right);
  const y = (dollars: number) => height - bottom - scale(dollars, [1, 200]) * (height - top - bottom);
  const text = (at: [number, number], content: string, more = '') =>
    `<text x="${at[0].toFixed(1)}" y="${at[1].toFixed(1)}" ${more}>${content}</text>`;
  const line = (from: [number, number], to: [number, number], more: string) =>
    `<line x1="${from[0]}" y1="${from[1].toFixed(1)}" x2="${to[0]}" y2="${to[1].toFixed(1)}" ${more}/>`;
  const end = width - right;
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" font-family="sans-serif" font-size="13" fill="#222">`,
    '<title>Cost of a million tasks against the number of workers</title>',
    `<rect width="${width}" height="${height}" fill="#fff"/>`,
    text([left, 28], 'What DynamoDB asks for a million tasks', 'font-size="17" font-weight="bold"'),
    text([left, 48], 'each run once, by workers that come in the same instant; on demand, us-east-1', 'fill="#666"'),
    ...yTicks.map((dollars) => line([left, y(dollars)], [end, y(dollars)], 'stroke="#e4e4e4"')),
    ...yTicks.map((dollars) => text([left - 10, y(dollars) + 4], `$${dollars}`, 'text-anchor="end"')),
    ...xTicks.map((workers) => text([x(workers), height - bottom + 22], `${workers}`, 'text-anchor="middle"')),
    text([(left + end) / 2, height - 18], 'workers', 'text-anchor="middle" fill="#666"'),
    line([left, y(floor)], [end, y(floor)], 'stroke="#888" stroke-dasharray="3 4"'),
    text([end + 12, y(floor) + 4], `two writes a task: $${floor}`, 'fill="#666"'),
    ...curves.flatMap(({ name, colour, side, points }) => {
      const path = points.map(({ workers, dollars }) => `${x(workers).toFixed(1)},${y(dollars).toFixed(1)}`);
      const last = points.at(-1)?.dollars ?? 1;
      return [
        `<polyline points="${path.join(' ')}" fill="none" stroke="${colour}" stroke-width="2.5"/>`,
        ...points.map(
          ({ workers, dollars }) =>
            `<circle cx="${x(workers).toFixed(1)}" cy="${y(dollars).toFixed(1)}" r="4" fill="${colour}"/>`,
        ),
        ...points
          .slice(0, -1)
          .map(({ workers, dollars }) =>
            text(
              [x(workers) + side * 8, y(dollars) - 10],
              `$${dollars.toFixed(2)}`,
              `font-size="12" fill="${colour}" ${side < 0 ? 'text-anchor="end"' : ''}`,
            ),
          ),
        text([end + 12, y(last) + 4], `${name}: $${last.toFixed(2)}`, `font-weight="bold" fill="${colour}"`),
      ];
    }),
    '</svg>',
    '',
  ].join('\n');
}
