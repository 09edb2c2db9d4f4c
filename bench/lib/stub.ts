// A DynamoDB in memory that answers in microseconds and grants every condition, for contenders that never meet: so that the
// client is what is measured. A process of its own. `process.send` tells the port.
//
//   node stub.ts                     plain HTTP, at once
//   node stub.ts FOLDER MILLISECONDS HTTPS with FOLDER/key.pem and FOLDER/cert.pem, each answer so much later
import { readFileSync } from 'node:fs';
import { createServer as plain, type RequestListener } from 'node:http';
import { createServer as secure } from 'node:https';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';

type Value = { S?: string; N?: string };
type Item = Record<string, Value>;
interface Input {
  Key?: Item;
  Item?: Item;
  UpdateExpression?: string;
  ExpressionAttributeNames?: Record<string, string>;
  ExpressionAttributeValues?: Item;
  ReturnValues?: string;
}

const [folder, delayMs = '0'] = process.argv.slice(2);
const items = new Map<string, Item>();

/** Applies `SET a = b + :c, d = if_not_exists(e, :f) REMOVE g`. */
function update(input: Input, old: Item): Item {
  const { UpdateExpression = '', ExpressionAttributeNames: names = {}, ExpressionAttributeValues: values = {} } = input;
  const item = { ...old, ...input.Key };
  const operand = (text: string): Value => {
    const [, name = '', other = ''] = /^if_not_exists\(([^,]+), ([^)]+)\)$/.exec(text) ?? [];
    return (
      (name ? old[names[name] ?? name] : (values[text] ?? old[names[text] ?? text])) ?? values[other] ?? { N: '0' }
    );
  };
  const [set = '', remove = ''] = UpdateExpression.replace('SET ', '').split(' REMOVE ');
  for (const assignment of set.split(/, (?![^(]*\))/)) {
    const [name = '', expression = ''] = assignment.split(' = ');
    const terms = expression.split(' + ').map(operand);
    item[names[name] ?? name] =
      terms.length > 1 ? { N: String(terms.reduce((sum, { N }) => sum + Number(N), 0)) } : (terms[0] ?? {});
  }
  for (const name of remove.split(', ')) delete item[names[name] ?? name];
  return item;
}

function answer(operation: string, input: Input): object {
  const key = (input.Key ?? input.Item)?.lockKey?.S ?? '';
  const old = items.get(key);
  if (operation === 'GetItem') return old ? { Item: old } : {};
  if (operation === 'DeleteItem') items.delete(key);
  if (operation === 'PutItem') items.set(key, input.Item ?? {});
  if (operation === 'UpdateItem') items.set(key, update(input, old ?? {}));
  const { ReturnValues = 'NONE' } = input;
  // Of UPDATED_NEW and UPDATED_OLD the whole record is returned, too.
  if (ReturnValues === 'NONE') return {};
  return { Attributes: ReturnValues.endsWith('NEW') ? items.get(key) : old };
}

const listener: RequestListener = (request, response) => {
  const chunks: Buffer[] = [];
  request.on('data', (chunk) => chunks.push(chunk));
  request.on('end', () => {
    const [, operation = ''] = String(request.headers['x-amz-target']).split('.');
    const body = JSON.stringify(answer(operation, JSON.parse(Buffer.concat(chunks).toString())));
    // As many records as a run of seconds makes are enough.
    if (items.size > 100_000) items.clear();
    const headers = { 'content-type': 'application/x-amz-json-1.0', 'content-length': Buffer.byteLength(body) };
    const send = () => response.writeHead(200, headers).end(body);
    if (delayMs === '0') send();
    else setTimeout(send, Number(delayMs));
  });
};

const pem = (name: string) => readFileSync(join(folder ?? '', `${name}.pem`));
const server = folder ? secure({ key: pem('key'), cert: pem('cert') }, listener) : plain(listener);
server.keepAliveTimeout = 60_000;
server.listen(0, '127.0.0.1', () => process.send?.((server.address() as AddressInfo).port));
process.on('disconnect', () => process.exit());
