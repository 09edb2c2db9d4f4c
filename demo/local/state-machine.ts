interface Task {
  Type: 'Task';
  Resource: string;
  /** Present in a task that names its function among its arguments. */
  Arguments?: { FunctionName: string; Payload: unknown };
  Output?: unknown;
  Next?: string;
}

interface Each {
  Type: 'Map';
  Items: unknown;
  ItemSelector: unknown;
  ItemProcessor: StateMachineDefinition;
  Output?: unknown;
  Next?: string;
}

type State =
  | Task
  | Each
  | { Type: 'Choice'; Choices: { Variable: string; IsPresent: boolean; Next: string }[]; Default: string }
  | { Type: 'Succeed' };

export interface StateMachineDefinition {
  readonly StartAt: string;
  readonly States: Record<string, State>;
}

/** Runs a function by its logical id. */
type Invoke = (functionId: string, input: unknown) => Promise<unknown>;

/**
 * Runs a state machine as Step Functions would, with the states that the demo's have: tasks, choices by the presence of a
 * value, and tasks for each item of a list. There is no catch, so an execution fails with its step.
 */
export async function execute(
  { StartAt, States }: StateMachineDefinition,
  input: unknown,
  invoke: Invoke,
): Promise<unknown> {
  let data = input;
  for (let next: string | undefined = StartAt; next !== undefined; ) {
    const state: State | undefined = States[next];
    switch (state?.Type) {
      case 'Task':
        data = await runTask(state, data, invoke);
        next = state.Next;
        break;
      case 'Map':
        data = await runEach(state, data, invoke);
        next = state.Next;
        break;
      case 'Choice':
        next =
          state.Choices.find(({ Variable, IsPresent }) => isPresent(Variable, data) === IsPresent)?.Next ??
          state.Default;
        break;
      case 'Succeed':
        next = undefined;
        break;
      default:
        throw new Error(
          `Expected a Task, Map, Choice or Succeed as the state ${next}, found ${JSON.stringify(state)}.`,
        );
    }
  }
  return data;
}

async function runTask({ Resource, Arguments, Output }: Task, input: unknown, invoke: Invoke): Promise<unknown> {
  const result = Arguments
    ? await invoke(Arguments.FunctionName, evaluate(Arguments.Payload, { input }))
    : await invoke(Resource, input);
  return Output ?? result;
}

async function runEach(state: Each, input: unknown, invoke: Invoke): Promise<unknown> {
  const items = evaluate(state.Items, { input }) as unknown[];
  const runs = items.map((item) => execute(state.ItemProcessor, evaluate(state.ItemSelector, { input, item }), invoke));
  const results = await Promise.all(runs);
  return state.Output ?? results;
}

/** Gives a value whose parts `{% ... %}` are evaluated: the few expressions of JSONata that the demo's state machines have. */
function evaluate(value: unknown, data: { readonly input: unknown; readonly item?: unknown }): unknown {
  if (typeof value === 'object' && value !== null) {
    return Object.fromEntries(Object.entries(value).map(([name, part]) => [name, evaluate(part, data)]));
  }
  const [, expression] = /^\{% (.*) %\}$/.exec(String(value)) ?? [];
  if (expression === undefined) return value;
  const [, last] = /^\[0\.\.(\d+)\]$/.exec(expression) ?? [];
  if (last !== undefined) return Array.from({ length: Number(last) + 1 }, (_, number) => number);
  if (expression === '$states.context.Map.Item.Value') return data.item;
  const [, name] = /^\$states\.input(?:\.(\w+))?$/.exec(expression) ?? [];
  if (!expression.startsWith('$states.input')) throw new Error(`Cannot evaluate ${expression}.`);
  return name === undefined ? data.input : (data.input as Record<string, unknown>)[name];
}

/** True for a reference path, such as `$.left[0]`, that leads to something. */
function isPresent(path: string, data: unknown): boolean {
  const names = path.match(/\w+/g) ?? [];
  let value = data as Record<string, unknown> | undefined;
  for (const name of names) value = value?.[name] as Record<string, unknown> | undefined;
  return value !== undefined;
}
