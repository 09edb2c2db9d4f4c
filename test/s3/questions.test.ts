import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { Asker, makeBucket, questions } from './questions.ts';
import { S3Server, type S3ServerOptions } from './server.ts';

const VARIANTS: [string, S3ServerOptions][] = [
  ['a plain server', {}],
  ['a server with random ETags and pages of 2', { etags: 'random', pageSize: 2 }],
  ['a server with slow writes', { writeMs: 3 }],
  ['a server as of S3 Express', { etags: 'random', express: true, pageSize: 2 }],
];

describe.each(VARIANTS)('%s answers as locks need', (_, options) => {
  let server: S3Server;
  let asker: Asker;
  beforeAll(async () => {
    server = await S3Server.start(options);
    const place = { endpoint: server.endpoint, bucket: 'questions' };
    await makeBucket(place);
    asker = new Asker(place);
  });
  afterAll(async () => {
    asker.client.destroy();
    await server.stop();
  });

  test.each(questions.map((question) => [question.name, question] as const))('%s', async (_, { ask, answers }) => {
    expect(answers).toContainEqual(await ask(asker));
  });
});

test('a server with slow writes answers 409 to a write that met another write', async () => {
  await using server = await S3Server.start({ writeMs: 20 });
  const place = { endpoint: server.endpoint, bucket: 'questions' };
  await makeBucket(place);
  const asker = new Asker(place);
  const etag = String(await asker.put('a', '1'));
  const both = await Promise.all(['2', '3'].map((body) => asker.put('a', body, { IfMatch: etag })));
  expect(both.filter((answer) => typeof answer === 'number')).toEqual([409]);
  asker.client.destroy();
});
