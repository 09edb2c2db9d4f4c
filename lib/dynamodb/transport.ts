import type {
  BatchGetItemCommandInput,
  GetItemCommandInput,
  ScanCommandInput,
  UpdateItemCommandInput,
} from '@aws-sdk/client-dynamodb';

/** The inputs of the operations that the store asks of DynamoDB. */
export interface Inputs {
  readonly BatchGetItem: BatchGetItemCommandInput;
  readonly GetItem: GetItemCommandInput;
  readonly Scan: ScanCommandInput;
  readonly UpdateItem: UpdateItemCommandInput;
}
export type Operation = keyof Inputs;

/** Sends requests to DynamoDB. Answers and errors have the form that the SDK gives them. */
export interface Transport {
  /** The most sockets that the requests may use. Undefined until the first request, or if there is no bound. */
  readonly maxSockets: number | undefined;
  /** The Region of the table. Undefined if there is none. */
  region(): Promise<string | undefined>;
  /** @param heard hears of the fault of each attempt. */
  send<O extends Operation>(
    operation: O,
    input: Inputs[O],
    signal: AbortSignal | undefined,
    heard: (fault: unknown) => void,
  ): Promise<unknown>;
}
