// Every interleaving of a small model, breadth first. So the story of a fault is a shortest one.

/** A step from one state to the next: its text in a story, the state, and the faults of the step itself. */
export type Step<State> = readonly [text: string, next: State, faults?: readonly string[]];

/** A model. Each of its functions leaves the state that it is given as it is. */
export interface Model<State> {
  first(): State;
  steps(state: State): Iterable<Step<State>>;
  /** A text that two states have in common only if they are the same state. */
  idOf(state: State): string;
  /** The faults that a state has. */
  faultsIn?(state: State): readonly string[];
  /** With a goal: from every state, some steps must lead to a state that has reached the goal. */
  isGoal?(state: State): boolean;
}

/** The result of an exploration that visited every state. */
export interface Explored {
  readonly states: number;
  /** The faults by their names, each with the steps of a shortest story. */
  readonly faults: ReadonlyMap<string, readonly string[]>;
}

/** The fault of a state from which no steps lead to the goal. */
export const NO_WAY = 'no way to the goal';
const MOST_STATES = 3_000_000;

/**
 * Visits every state of a model.
 * @throws Error if the model has more than three million states: then nobody knows whether it has a fault.
 */
export function explore<State>(model: Model<State>): Explored {
  const ids = new Map<string, number>();
  /** For each state the state before, the text of the step, and, with a goal, the states from which a step leads here. */
  const [parents, texts, sources]: [number[], string[], number[][]] = [[], [], []];
  const waiting: (State | undefined)[] = [];
  const goals: number[] = [];
  const faults = new Map<string, readonly string[]>();

  const storyOf = (state: number): string[] => {
    const story: string[] = [];
    for (let at = state; at > 0; at = parents[at] as number) story.unshift(texts[at] as string);
    return story;
  };
  const note = (found: Iterable<string>, story: () => readonly string[]) => {
    for (const fault of found) if (!faults.has(fault)) faults.set(fault, story());
  };
  const visit = (state: State, parent: number, text: string): number => {
    const id = model.idOf(state);
    const known = ids.get(id);
    if (known !== undefined) return known;
    const number = ids.size;
    if (number === MOST_STATES) throw new Error(`The model has more than ${MOST_STATES} states.`);
    ids.set(id, number);
    parents.push(parent);
    texts.push(text);
    waiting.push(state);
    if (model.isGoal) sources.push([]);
    if (model.isGoal?.(state)) goals.push(number);
    note(model.faultsIn?.(state) ?? [], () => storyOf(number));
    return number;
  };

  visit(model.first(), 0, '');
  for (let at = 0; at < waiting.length; at++) {
    const state = waiting[at] as State;
    // A state that was visited is not needed again.
    waiting[at] = undefined;
    for (const [text, next, found = []] of model.steps(state)) {
      note(found, () => [...storyOf(at), text]);
      const reached = visit(next, at, text);
      if (model.isGoal && reached !== at) sources[reached]?.push(at);
    }
  }
  if (model.isGoal) {
    const lost = firstWithout(goals, sources);
    if (lost !== undefined) faults.set(NO_WAY, storyOf(lost));
  }
  return { states: ids.size, faults };
}

/** The first state from which no steps lead to a goal, if any. */
function firstWithout(goals: readonly number[], sources: readonly number[][]): number | undefined {
  const leads = new Set(goals);
  const stack = [...goals];
  for (let at = stack.pop(); at !== undefined; at = stack.pop()) {
    for (const source of sources[at] ?? []) {
      if (leads.has(source)) continue;
      leads.add(source);
      stack.push(source);
    }
  }
  const lost = sources.findIndex((_, state) => !leads.has(state));
  return lost < 0 ? undefined : lost;
}
