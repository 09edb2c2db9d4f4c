import { docstringOf } from './docstring.ts';
import type { ApiItem, TokenRange } from './extract.ts';

const KINDS = ['Function', 'Variable', 'Class', 'Interface', 'TypeAlias'];

/** Tells options, which the user writes, from what the user is given. */
export const isOptions = ({ name = '' }: ApiItem): boolean => /(Options|Props|Attributes|Timing|Plugin)$/.test(name);

/** Fills in the sections of an entry's exports between `<!-- exports of NAME -->` and `<!-- end -->` of a page. */
export function fillIn(page: string, declarations: readonly ApiItem[]): string {
  const namespaces = declarations.filter(({ kind }) => kind === 'Namespace');
  const exported = new Set(namespaces.flatMap(({ members = [] }) => members.map(({ name }) => name)));
  const internal = new Map(declarations.filter(({ name }) => !exported.has(name)).map((item) => [item.name, item]));
  return page.replaceAll(/(<!-- exports of (\w+) -->\n).*?(<!-- end -->)/gs, (_, start, entry, end) => {
    const members = namespaces.find(({ name }) => name === entry)?.members;
    if (members === undefined) throw new Error(`docs/reference.md has a marker for ${entry}, which is no entry.`);
    const sorted = KINDS.flatMap((kind) => members.filter((item) => item.kind === kind));
    const names = new Set(sorted.map(({ name }) => name));
    const sections = [...names].map((name) =>
      section(
        sorted.filter((item) => item.name === name),
        internal,
      ),
    );
    return `${start}\n${sections.join('\n\n')}\n\n${end}`;
  });
}

/** The declarations that no entry exports, by their names. */
type Internal = ReadonlyMap<string | undefined, ApiItem>;

/** A heading, the docstring and a table of the members. An overloaded function has an item for each signature. */
function section(overloads: readonly ApiItem[], internal: Internal): string {
  const item = overloads[0] as ApiItem;
  const { prose, tagged } = docstringOf(item);
  const { members, heritage } = withInternalBases(item, internal);
  const calls = new Set(
    overloads.filter(({ kind }) => kind === 'Function').map((overload) => `\`${callOf(overload)}\``),
  );
  const isService = members.some(({ kind }) => kind === 'Method' || kind === 'MethodSignature');
  const parts = [
    `### \`${item.name}\``,
    [...calls].join(', '),
    item.kind === 'TypeAlias' ? aliased(item) : '',
    prose,
    throwsOf(tagged('throws')),
    heritage.length > 0 ? `It has the members of ${heritage.join(' and ')}, too.` : '',
    (item.kind === 'Class' || isService ? memberTable(item, members) : propertyTable(item, members)).join('\n'),
  ];
  return parts.filter(Boolean).join('\n\n');
}

/** The members of a class or an interface and of its internal bases, and the names of its exported bases. */
function withInternalBases(item: ApiItem, internal: Internal): { members: ApiItem[]; heritage: string[] } {
  const { extendsTokenRange = [], extendsTokenRanges = [], implementsTokenRanges = [] } = item;
  const members = [...(item.members ?? [])];
  const heritage: string[] = [];
  for (const range of [extendsTokenRange, extendsTokenRanges, implementsTokenRanges].flat()) {
    const text = textOf(item, range);
    const base = internal.get(text.replace(/<.*$/s, ''));
    if (base?.kind === 'Interface' || base?.kind === 'Class') {
      const inherited = withInternalBases(base, internal);
      members.push(...inherited.members.filter(({ name }) => members.every((own) => own.name !== name)));
      heritage.push(...inherited.heritage);
    } else {
      heritage.push(`\`${base?.kind === 'TypeAlias' ? textOf(base, base.typeTokenRange) : text}\``);
    }
  }
  return { members, heritage };
}

/** Options or the properties of a result: a row for each, with its type, an option's default, and its meaning. */
function propertyTable(owner: ApiItem, members: readonly ApiItem[]): string[] {
  const rows = members.map((member) => {
    const { prose, tagged } = docstringOf(member);
    const type = code(
      textOf(member, member.propertyTypeTokenRange).replace(/^\((.*)\) \| undefined$|^(.*) \| undefined$/s, '$1$2'),
    );
    const meaning = cell(prose);
    if (!isOptions(owner)) return [code(`${member.name}${member.isOptional ? '?' : ''}`), type, meaning];
    const [byDefault = ''] = [...tagged('defaultValue'), ...tagged('default')];
    return [
      code(member.name ?? ''),
      type,
      member.isOptional ? cell(byDefault.replace(/^- /, '')) : 'required',
      meaning,
    ];
  });
  return table(isOptions(owner) ? ['option', 'type', 'default', 'meaning'] : ['property', 'type', 'meaning'], rows);
}

/** A row for each member. A class leaves out a method whose docstring stands at the interface. */
function memberTable({ kind }: ApiItem, members: readonly ApiItem[]): string[] {
  const rows = members.flatMap((member) => {
    const { prose, tagged } = docstringOf(member);
    const returns = tagged('returns').map((text) => `Returns ${text}`);
    const meaning = cell([prose, ...optionsOf(tagged('param')), ...returns, throwsOf(tagged('throws'))].join(' '));
    const isCall = member.parameters !== undefined;
    const isNamed = isCall || !member.name?.startsWith('[');
    if (member.isProtected || !isNamed || (kind === 'Class' && meaning === '' && (isCall || member.isStatic)))
      return [];
    const name = isCall ? callOf(member) : (member.name ?? '');
    return [[code(member.isStatic ? `static ${name}` : name), meaning]];
  });
  return table(['member', 'meaning'], rows);
}

function table(head: readonly string[], rows: readonly (readonly string[])[]): string[] {
  if (rows.length === 0) return [];
  const line = (cells: readonly string[]) => `|${cells.map((text) => (text ? ` ${text} |` : ' |')).join('')}`;
  return [line(head), `|${'---|'.repeat(head.length)}`, ...rows.map(line)];
}

function callOf({ name = 'constructor', parameters = [] }: ApiItem): string {
  // A destructured parameter comes twice: with its pattern as its name, and as `input`.
  const named = parameters.filter(({ parameterName }) => !parameterName.startsWith('{'));
  return `${name}(${named.map(({ parameterName, isOptional }) => parameterName + (isOptional ? '?' : '')).join(', ')})`;
}

/** The aliased type, unless the type is too long to read. */
function aliased(item: ApiItem): string {
  const type = textOf(item, item.typeTokenRange);
  return type.length > 200 ? '' : `\`${type}\``;
}

const throwsOf = (texts: readonly string[]): string => texts.map((text) => `Throws ${text}`).join(' ');

/** The parameters that are properties of options without a type of their own. The tool puts a dash before their names. */
const optionsOf = (texts: readonly string[]): string[] =>
  texts.flatMap((text) => {
    const [, name, meaning] = /^-\s+(\w+\.\w+)\s+(.*)$/s.exec(text) ?? [];
    return name === undefined ? [] : [`\`${name}\`: ${meaning}`];
  });

const textOf = ({ excerptTokens = [] }: ApiItem, range: TokenRange | undefined): string =>
  excerptTokens
    .slice(range?.startIndex ?? 0, range?.endIndex ?? 0)
    .map(({ text }) => text)
    .join('')
    .trim();

/** A text as a table cell. A cell has one line, so list items are joined with `<br>`. */
const cell = (text: string): string =>
  text
    .replaceAll(/\s*\n- /g, '<br>')
    .replaceAll(/\s+/g, ' ')
    .replaceAll('|', '\\|')
    .trim();

const code = (text: string): string => `\`${cell(text)}\``;
