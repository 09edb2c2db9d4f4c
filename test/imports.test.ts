import { globSync, readFileSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { describe, expect, test } from '@jest/globals';

const repository = join(import.meta.dirname, '..');

// Imports run one way. A line says what a part may import beside its own files: parts, and packages.
const parts: Record<string, { parts: string[]; packages: RegExp }> = {
  'lib/names.ts': { parts: [], packages: /^$/ },
  'lib/record/': { parts: [], packages: /^$/ },
  'lib/lease/': { parts: ['lib/record/'], packages: /^node:/ },
  'lib/dynamodb/': { parts: ['lib/record/', 'lib/names.ts'], packages: /^(node:|@aws-sdk\/)/ },
  'lib/dynamodb/guarded-write.ts': { parts: ['lib/record/', 'lib/lease/', 'lib/dynamodb/'], packages: /^@aws-sdk\// },
  'lib/dynamodb/index.ts': { parts: ['lib/dynamodb/', 'lib/dynamodb/guarded-write.ts'], packages: /^$/ },
  'lib/testing/': { parts: ['lib/record/', 'lib/lease/'], packages: /^$/ },
  'lib/emf.ts': { parts: ['lib/record/', 'lib/lease/', 'lib/names.ts'], packages: /^node:/ },
  'lib/index.ts': { parts: ['lib/record/', 'lib/lease/', 'lib/emf.ts'], packages: /^$/ },
  'lib/tasks/': { parts: ['lib/record/', 'lib/lease/'], packages: /^node:/ },
  'middleware/': { parts: ['lib/record/', 'lib/lease/', 'lib/dynamodb/'], packages: /^(node:|@aws-sdk\/)/ },
  'lib/cdk/': { parts: ['lib/record/', 'lib/names.ts'], packages: /^(node:|aws-cdk-lib|constructs$)/ },
};

const files = globSync('{lib,middleware}/**/*.ts', { cwd: repository });

function partOf(file: string): string {
  // The longest name wins: the guarded writes, which know of a lease, are a part of their own.
  const names = Object.keys(parts).filter((name) => file.startsWith(name));
  return names.sort((a, b) => b.length - a.length)[0] ?? file;
}

function importsOf(file: string): string[] {
  const source = readFileSync(join(repository, file), 'utf8');
  const statements = source.matchAll(/(?:^(?:import|export)\b[^'"=;]*? from |^import |\bimport\()'([^']+)'/gm);
  return [...statements].map(([, specifier = '']) => specifier);
}

describe('imports run one way', () => {
  test('every source file is in a part that says what it may import', () => {
    expect(files.filter((file) => !(partOf(file) in parts))).toEqual([]);
  });

  test.each(Object.entries(parts))('%s imports only what it may', (part, may) => {
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
});
