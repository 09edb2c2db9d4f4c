import { globSync, readFileSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { describe, expect, test } from '@jest/globals';

const repository = join(import.meta.dirname, '..');

/** Besides its own files, a part imports only these parts and packages. A part is a folder, or a file with rules of its own. */
const parts: Record<string, { parts: string[]; packages: RegExp }> = {
  'lib/names.ts': { parts: [], packages: /^$/ },
  'lib/record/': { parts: [], packages: /^node:crypto$/ },
  'lib/lease/': { parts: ['lib/record/'], packages: /^node:/ },
  'lib/aws/': { parts: ['lib/record/'], packages: /^$/ },
  'lib/swap/': { parts: ['lib/record/'], packages: /^node:/ },
  'lib/dynamodb/': {
    parts: ['lib/record/', 'lib/aws/', 'lib/names.ts', 'lib/emf.ts', 'lib/dynamodb/settings.ts'],
    packages: /^(node:|@aws-sdk\/)/,
  },
  'lib/s3/': {
    parts: ['lib/record/', 'lib/aws/', 'lib/swap/', 'lib/names.ts', 'lib/emf.ts'],
    packages: /^(node:|@aws-sdk\/)/,
  },
  'lib/s3.ts': { parts: ['lib/s3/'], packages: /^$/ },
  'lib/dynamodb/settings.ts': { parts: ['lib/record/', 'lib/names.ts'], packages: /^$/ },
  'lib/dynamodb/guarded-write.ts': { parts: ['lib/record/', 'lib/lease/', 'lib/dynamodb/'], packages: /^@aws-sdk\// },
  'lib/dynamodb.ts': { parts: ['lib/dynamodb/', 'lib/dynamodb/guarded-write.ts'], packages: /^$/ },
  'lib/redis/': { parts: ['lib/record/'], packages: /^node:/ },
  'lib/redis/guarded-write.ts': { parts: ['lib/record/', 'lib/lease/', 'lib/redis/'], packages: /^node:/ },
  'lib/redis.ts': { parts: ['lib/redis/', 'lib/redis/guarded-write.ts'], packages: /^$/ },
  'lib/file/': { parts: ['lib/record/', 'lib/swap/'], packages: /^node:/ },
  'lib/file.ts': { parts: ['lib/file/'], packages: /^$/ },
  'lib/testing.ts': { parts: ['lib/testing/'], packages: /^$/ },
  'lib/testing/': { parts: ['lib/record/', 'lib/lease/', 'lib/names.ts'], packages: /^$/ },
  'lib/emf.ts': { parts: ['lib/record/', 'lib/lease/', 'lib/names.ts'], packages: /^node:/ },
  'lib/index.ts': { parts: ['lib/record/', 'lib/lease/', 'lib/emf.ts'], packages: /^$/ },
  'lib/tasks/': { parts: ['lib/record/', 'lib/lease/'], packages: /^node:/ },
  // `node:util` loads more than a cold start needs.
  'middleware/': { parts: ['lib/record/', 'lib/lease/', 'lib/dynamodb/'], packages: /^(node:(?!util)|@aws-sdk\/)/ },
  'lib/cdk/': {
    parts: ['lib/record/', 'lib/swap/', 'lib/names.ts', 'lib/dynamodb/settings.ts'],
    packages: /^(node:|aws-cdk-lib|constructs$)/,
  },
};

const files = globSync('{lib,middleware}/**/*.ts', { cwd: repository });

/** The part with the longest name that fits: a file with rules of its own comes before its folder. */
function partOf(file: string): string {
  const names = Object.keys(parts).filter((name) => file.startsWith(name));
  return names.sort((a, b) => b.length - a.length)[0] ?? file;
}

function importsOf(file: string): string[] {
  const source = readFileSync(join(repository, file), 'utf8');
  const statements = source.matchAll(/(?:^(?:import|export)\b[^'"=;]*? from |^import |\bimport\()'([^']+)'/gm);
  return [...statements].map(([, specifier = '']) => specifier);
}

describe('imports', () => {
  test('have a rule for every source file', () => {
    expect(files.filter((file) => !(partOf(file) in parts))).toEqual([]);
  });

  test.each(Object.entries(parts))('of %s go down to lower floors only', (part, may) => {
    const strangers = files
      .filter((file) => partOf(file) === part)
      .flatMap((file) => importsOf(file).map((specifier) => ({ file, specifier })))
      .filter(({ file, specifier }) => {
        if (!specifier.startsWith('.')) return !may.packages.test(specifier);
        const target = partOf(relative(repository, join(repository, dirname(file), specifier)));
        return target !== part && !may.parts.includes(target);
      });
    expect(strangers).toEqual([]);
  });

  test('of a test that needs a DynamoDB take it from test/support, which skips the test where no DynamoDB runs', () => {
    // These two ask for each server by name. The suites of commands of their own need more than a DynamoDB.
    const exempt = ['test/contract/dynamodb.test.ts', 'test/dynamodb/launcher.test.ts'];
    const direct = globSync('test/**/*.test.ts', { cwd: repository, exclude: ['test/lambda/**', ...exempt] })
      .filter((file) => importsOf(file).some((name) => /demo\/local\/(launcher|deployment)\.ts$/.test(name)))
      .filter((file) => !importsOf(file).some((name) => name.endsWith('support/with-dynamodb.ts')));
    expect(direct).toEqual([]);
  });

  test('never lead from a file back to the file, imports of types included', () => {
    // The demo starts servers of the tests.
    const servers = 'test/{s3/server,support/{redis-servers,tcp-relay}}.ts';
    const all = globSync(['{lib,middleware,bin,lambda,demo}/**/*.ts', servers], {
      cwd: repository,
      exclude: ['**/node_modules/**'],
    });
    const targets = new Map(
      all.map((file) => [
        file,
        importsOf(file)
          .filter((specifier) => specifier.startsWith('.'))
          .map((specifier) => join(dirname(file), specifier)),
      ]),
    );
    expect([...targets.values()].flat().filter((file) => file.endsWith('.ts') && !targets.has(file))).toEqual([]);
    expect(all.flatMap((file) => circlesFrom(file, targets))).toEqual([]);
  });
});

/** The shortest circle of imports from a file back to the file, if the file is the circle's first by name. */
function circlesFrom(start: string, targets: ReadonlyMap<string, readonly string[]>): string[] {
  const paths = [[start]];
  const seen = new Set<string>();
  for (const path of paths) {
    for (const next of targets.get(path.at(-1) as string) ?? []) {
      if (next === start) return [[...path, start].join(' -> ')];
      if (next > start && !seen.has(next)) paths.push([...path, next]);
      seen.add(next);
    }
  }
  return [];
}
