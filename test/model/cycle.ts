import type { Model } from './explore.ts';

/**
 * Finds steps that lead from a state back to the same state: a run that may go on for ever.
 * @returns the steps of the circle, or undefined if every run ends.
 */
export function cycleIn<State>(model: Model<State>): string[] | undefined {
  const open = (state: State, text: string) => ({ id: model.idOf(state), text, steps: [...model.steps(state)] });
  const path = [open(model.first(), '')];
  const onPath = new Set(path.map(({ id }) => id));
  const visited = new Set(onPath);
  for (let last = path.at(-1); last !== undefined; last = path.at(-1)) {
    const step = last.steps.pop();
    if (step === undefined) {
      onPath.delete(last.id);
      path.pop();
      continue;
    }
    const next = open(step[1], step[0]);
    if (onPath.has(next.id)) {
      const start = path.findIndex(({ id }) => id === next.id);
      return [...path.slice(start + 1).map(({ text }) => text), next.text];
    }
    if (visited.has(next.id)) continue;
    visited.add(next.id);
    onPath.add(next.id);
    path.push(next);
  }
  return undefined;
}
