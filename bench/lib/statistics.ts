/** A measured value, as a rule a median, and the tenth and ninetieth percentile of what it is the median of. */
export interface Figure {
  readonly value: number;
  readonly low?: number;
  readonly high?: number;
}

/** The value below which the given part of the numbers lies. NaN of no numbers. */
export function quantile(numbers: readonly number[], part: number): number {
  const sorted = numbers.toSorted((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(part * sorted.length))] ?? Number.NaN;
}

/** The median, with the spread [p10 p90]. */
export function median(numbers: readonly number[]): Figure {
  return { value: quantile(numbers, 0.5), low: quantile(numbers, 0.1), high: quantile(numbers, 0.9) };
}

/** The median of the ratios, round by round: the machine's noise in a round meets both alike. */
export function ratio(numbers: readonly number[], base: readonly number[]): Figure {
  return median(numbers.map((value, round) => value / (base[round] ?? Number.NaN)).filter(Number.isFinite));
}

/** Rounds to three digits, and writes thousands apart: 0.397, 12.4, 1,234. */
export function show({ value, low, high }: Figure): string {
  if (low === undefined || high === undefined || (low === value && high === value)) return digits(value);
  return `${digits(value)} [${digits(low)} ${digits(high)}]`;
}

function digits(value: number): string {
  if (!Number.isFinite(value)) return '-';
  const places =
    Number.isInteger(value) || Math.abs(value) >= 100 ? 0 : Math.abs(value) >= 10 ? 1 : Math.abs(value) >= 1 ? 2 : 3;
  return value.toLocaleString('en-US', { minimumFractionDigits: places, maximumFractionDigits: places });
}
