/**
 * The second half of `npm run mutation`: says which mutants of the last run survived that `survivors.json` does not list
 * with a reason, and which of those listed there survive no more. Exits with 1 when there are any.
 */
import { readFileSync } from 'node:fs';

/** As Stryker reports it: https://github.com/stryker-mutator/mutation-testing-elements */
interface Report {
  readonly files: Record<string, { readonly source: string; readonly mutants: readonly ReportedMutant[] }>;
}

interface ReportedMutant {
  readonly status: string;
  readonly replacement?: string;
  readonly location: { readonly start: Place; readonly end: Place };
}

interface Place {
  readonly line: number;
  readonly column: number;
}

/** Lines move, so a survivor is known by its code. */
interface Survivor {
  readonly file: string;
  readonly code: string;
  readonly becomes: string;
}

const read = (path: string) => readFileSync(new URL(path, import.meta.url), 'utf8');
const known: readonly { reason: string; survivors: readonly Survivor[] }[] = JSON.parse(read('survivors.json'));
const report: Report = JSON.parse(read('../../reports/mutation/mutation.json'));

/** The code between two places of a source, in one line. */
function codeAt(source: string, { start, end }: ReportedMutant['location']): string {
  const lines = source.split('\n').slice(start.line - 1, end.line);
  lines[lines.length - 1] = lines.at(-1)?.slice(0, end.column - 1) ?? '';
  lines[0] = lines[0]?.slice(start.column - 1) ?? '';
  return lines.map((line) => line.trim()).join(' ');
}

const id = ({ file, code, becomes }: Survivor): string => `${file}: ${code}  =>  ${becomes}`;

const counts = new Map<string, number>();
const survivors = new Map<string, string>();
for (const [file, { source, mutants }] of Object.entries(report.files)) {
  for (const { status, replacement = '', location } of mutants) {
    counts.set(status, (counts.get(status) ?? 0) + 1);
    if (status !== 'Survived' && status !== 'NoCoverage') continue;
    const survivor = { file, code: codeAt(source, location), becomes: replacement.replace(/\s*\n\s*/g, ' ') };
    survivors.set(id(survivor), `${file}:${location.start.line}:${location.start.column}`);
  }
}

const listed = new Set(known.flatMap(({ survivors }) => survivors.map(id)));
const unlisted = [...survivors.keys()].filter((survivor) => !listed.has(survivor));
const gone = [...listed].filter((survivor) => !survivors.has(survivor));
for (const survivor of unlisted) console.log(`Survives without a reason, at ${survivors.get(survivor)}\n  ${survivor}`);
for (const survivor of gone) console.log(`Is listed, and survives no more\n  ${survivor}`);
const total = [...counts.values()].reduce((sum, count) => sum + count, 0);
console.log(`${total} mutants: ${[...counts].map(([status, count]) => `${count} ${status}`).join(', ')}.`);
if (unlisted.length + gone.length > 0) process.exitCode = 1;
