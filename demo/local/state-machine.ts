type State =
  | { Type: 'Task'; Resource: string; Next?: string }
  | { Type: 'Choice'; Choices: { Variable: string; IsPresent: boolean; Next: string }[]; Default: string }
  | { Type: 'Succeed' };

export interface StateMachineDefinition {
  readonly StartAt: string;
  readonly States: Record<string, State>;
}

/**
 * Runs a state machine as Step Functions would, with the states that the demo's has: tasks, and choices by the presence of
 * a value. There is no catch, so an execution fails with its step.
 * @param invoke runs the function with that logical id.
 */
export async function execute(
  { StartAt, States }: StateMachineDefinition,
  input: unknown,
  invoke: (functionId: string, input: unknown) => Promise<unknown>,
): Promise<unknown> {
  let data = input;
  for (let next: string | undefined = StartAt; next !== undefined; ) {
    const state: State | undefined = States[next];
    switch (state?.Type) {
      case 'Task':
        data = await invoke(state.Resource, data);
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
        throw new Error(`Expected a Task, a Choice or a Succeed as the state ${next}, found ${JSON.stringify(state)}.`);
    }
  }
  return data;
}

/** True for a reference path, such as `$.left[0]`, that leads to something. */
function isPresent(path: string, data: unknown): boolean {
  const names = path.match(/\w+/g) ?? [];
  let value = data as Record<string, unknown> | undefined;
  for (const name of names) value = value?.[name] as Record<string, unknown> | undefined;
  return value !== undefined;
}
