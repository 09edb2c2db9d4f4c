import { execFileSync } from 'node:child_process';
import { copyFileSync, existsSync, mkdirSync, mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { parse } from 'yaml';
import { repository } from './entries.ts';
import { read } from './pages.ts';

interface Job {
  readonly needs?: string | string[];
  readonly uses?: string;
  readonly permissions?: Record<string, string>;
  readonly 'timeout-minutes'?: number;
  readonly steps?: { readonly run?: string; readonly uses?: string }[];
}

interface Workflow {
  readonly on: Record<string, unknown>;
  readonly permissions: Record<string, string>;
  readonly jobs: Record<string, Job>;
}

const workflow = (name: string): Workflow => parse(read(`.github/workflows/${name}.yml`));
const commandsOf = (job: Job | undefined) => job?.steps?.flatMap(({ run = [] }) => run);
const needsOf = (job: Job | undefined) => [job?.needs ?? []].flat();

describe('every workflow', () => {
  test.each(['ci', 'pages', 'release'])('may read the repository and nothing else by default, as %s does', (name) => {
    expect(workflow(name).permissions).toEqual({ contents: 'read' });
  });

  test.each(['ci', 'pages', 'release'])('has a bounded time, and pins its actions, as %s does', (name) => {
    for (const job of Object.values(workflow(name).jobs).filter(({ uses }) => uses === undefined)) {
      expect(job['timeout-minutes']).toBeLessThanOrEqual(45);
      for (const { uses } of job.steps ?? []) if (uses) expect(uses).toMatch(/^[\w/-]+@[0-9a-f]{40}$/);
    }
    expect(read(`.github/workflows/${name}.yml`)).not.toMatch(/secrets\b/);
  });
});

describe('the workflow CI', () => {
  test('runs .ci/run, which is executable, for pushes and pull requests', () => {
    const { on, jobs } = workflow('ci');
    expect(Object.keys(on)).toEqual(expect.arrayContaining(['push', 'pull_request', 'workflow_call']));
    expect(commandsOf(jobs.test)).toEqual(['.ci/run']);
    expect(statSync(join(repository, '.ci/run')).mode & 0o111).toBe(0o111);
  });
});

describe('the workflow Release', () => {
  const { on, jobs } = workflow('release');

  test('starts at a version tag, and publishes only after the check of the tag and the tests', () => {
    expect(on).toEqual({ push: { tags: ['v*'] } });
    expect(commandsOf(jobs.check)).toEqual(['.ci/check-release "$GITHUB_REF_NAME"']);
    expect(jobs.test?.uses).toBe('./.github/workflows/ci.yml');
    expect(needsOf(jobs.publish)).toEqual(['check', 'test']);
  });

  test('publishes with provenance, and is the only job that gets an identity', () => {
    expect(commandsOf(jobs.publish)).toContain('npm publish --provenance --access public');
    const identified = Object.keys(jobs).filter((name) => jobs[name]?.permissions?.['id-token'] === 'write');
    expect(identified).toEqual(['publish']);
  });
});

describe('the check of a release', () => {
  let folder: string;
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'release-'));
    mkdirSync(join(folder, '.ci'));
    copyFileSync(join(repository, '.ci/check-release'), join(folder, '.ci/check-release'));
    writeFileSync(join(folder, 'package.json'), '{ "version": "1.2.3" }');
  });
  afterEach(() => rmSync(folder, { recursive: true }));

  const check = (tag: string, heading: string): string => {
    writeFileSync(join(folder, 'CHANGELOG.md'), `# Changelog\n\n${heading}\n`);
    try {
      execFileSync(join(folder, '.ci/check-release'), [tag], { cwd: folder, encoding: 'utf8', stdio: 'pipe' });
      return 'passed';
    } catch (error) {
      return (error as { stderr: string }).stderr;
    }
  };

  test('passes for the tag of the version, with a dated section in the changelog', () => {
    expect(check('v1.2.3', '## 1.2.3 - 2026-11-27')).toBe('passed');
  });

  test.each(['v1.2.4', '1.2.3', 'v1.2.3-rc'])('refuses the tag %s of the version 1.2.3', (tag) => {
    expect(check(tag, '## 1.2.3 - 2026-11-27')).toContain(
      `must be v1.2.3, as package.json has the version, but it is '${tag}'`,
    );
  });

  test.each(['## Unreleased', '## 1.2.3', '## 1.2.30 - 2026-11-27', '## 1x2.3 - 2026-11-27'])(
    'refuses a changelog whose newest section is "%s"',
    (heading) => {
      expect(check('v1.2.3', heading)).toContain("must have a section '## 1.2.3 - ");
    },
  );
});

describe('the issue forms', () => {
  const fieldsOf = (form: string): string[] => {
    const { body } = parse(read(`.github/ISSUE_TEMPLATE/${form}.yml`));
    const questions = (body as { type: string; id: string }[]).filter(({ type }) => type !== 'markdown');
    return questions.map(({ id }) => id);
  };

  test('ask for the job of a feature, and for the facts of a bug', () => {
    expect(fieldsOf('feature')).toContain('job');
    const facts = ['happened', 'reproduction', 'store', 'versions', 'doctor', 'events'];
    expect(fieldsOf('bug')).toEqual(facts);
  });

  test('point to pages of this repository that exist', () => {
    const { contact_links: links } = parse(read('.github/ISSUE_TEMPLATE/config.yml'));
    const urls = (links as { url: string }[]).map(({ url }) => url);
    const pages = urls.flatMap((url) => /\/blob\/main\/([^#]+)/.exec(url)?.[1] ?? []);
    expect(pages).toHaveLength(2);
    expect(pages.filter((page) => !existsSync(join(repository, page)))).toEqual([]);
  });
});
