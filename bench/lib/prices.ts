import { RAW } from './contenders.ts';
import type { Result } from './results.ts';
import type { Row, Table } from './table.ts';

/** US dollars for a million request units on demand in us-east-1: https://aws.amazon.com/dynamodb/pricing/on-demand/ */
export const PRICE = { write: 0.625, read: 0.125 };

/**
 * The price of a million cycles, from the counts of requests of the measure `cycle`. A lock's item is smaller than a unit.
 * The peers read consistently, which costs a unit.
 */
export function prices({ tables }: Result): Table {
  const rows = (tables[0]?.rows ?? []).flatMap(({ name, figures }): Row[] => {
    const [writes = Number.NaN, reads = Number.NaN] = String(figures.requests).split(' + ').map(Number);
    if (!writes || name.startsWith('bare') || name === RAW) return [];
    const dollars = (writes * PRICE.write + reads * PRICE.read).toFixed(2);
    return [{ name, figures: { 'write units': writes, 'read units': reads, 'dollars for a million': dollars } }];
  });
  return { title: 'A lock that is free is taken and released', rows };
}
