/** Runs every contender in every round, each round in another order, so that the machine's moods meet all alike. */
export async function inRounds<Contender extends { readonly name: string }, Sample>(
  contenders: readonly Contender[],
  { rounds, warmUp = 0 }: { rounds: number; warmUp?: number },
  once: (contender: Contender) => Promise<Sample>,
): Promise<Map<string, Sample[]>> {
  const samples = new Map(contenders.map(({ name }) => [name, [] as Sample[]]));
  for (let round = 0; round < warmUp + rounds; round++) {
    for (const contender of shuffled(contenders)) {
      const sample = await once(contender);
      if (round >= warmUp) samples.get(contender.name)?.push(sample);
    }
  }
  return samples;
}

function shuffled<T>(all: readonly T[]): T[] {
  return all
    .map((one) => ({ one, at: Math.random() }))
    .sort((a, b) => a.at - b.at)
    .map(({ one }) => one);
}
