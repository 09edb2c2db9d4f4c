/** The lock table and its permissions as text, for whoever deploys without the CDK. A test compares both with the constructs'. */
import { conditionOf, keyPatterns, lockActions, policyFault, readOfSlots } from '../lib/cdk/policy-text.ts';
import { show } from '../lib/record/check.ts';
import { slotKeys } from '../lib/record/slot-keys.ts';
import { UsageError } from './terminal.ts';

/** The names of a table's attributes, and of the table where a template needs one. */
interface Layout {
  readonly keyAttribute: string;
  readonly ttlAttribute: string;
  /** Undefined if nobody named the table. CloudFormation then gives it a name. */
  readonly tableName: string | undefined;
}

/** The name of a table that must have one, and that nobody named. */
export const DEFAULT_NAME = 'locks';

/** A word that no YAML takes for anything but a text: `yes`, `on` and `null` are no texts, nor is what begins as a number. */
const PLAIN = /^(?!(?:y|n|yes|no|on|off|true|false|null)$)[a-z_][\w-]*$/i;

/** A text in YAML, in quotes if it needs some. JSON's quoted texts are YAML's. */
const yaml = (text: string): string => (PLAIN.test(text) ? text : JSON.stringify(text));

/** A text in HCL: JSON's, but for two escapes that HCL has not, and for the beginnings of templates. */
const hcl = (text: string): string =>
  JSON.stringify(text)
    .replace(/\\(.)/g, (escaped, letter) => ({ b: '\\u0008', f: '\\u000c' })[letter as string] ?? escaped)
    .replace(/[$%](?=\{)/g, '$&$&');

const cloudformation = ({ keyAttribute, ttlAttribute, tableName }: Layout): string => `Resources:
  Locks:
    Type: AWS::DynamoDB::Table
    DeletionPolicy: Retain
    UpdateReplacePolicy: Retain
    Properties:${tableName === undefined ? '' : `\n      TableName: ${yaml(tableName)}`}
      BillingMode: PAY_PER_REQUEST
      AttributeDefinitions:
        - AttributeName: ${yaml(keyAttribute)}
          AttributeType: S
      KeySchema:
        - AttributeName: ${yaml(keyAttribute)}
          KeyType: HASH
      TimeToLiveSpecification:
        AttributeName: ${yaml(ttlAttribute)}
        Enabled: true`;

const terraform = ({
  keyAttribute,
  ttlAttribute,
  tableName,
}: Layout): string => `resource "aws_dynamodb_table" "locks" {
  name         = ${hcl(tableName ?? DEFAULT_NAME)}
  billing_mode = "PAY_PER_REQUEST"
  hash_key     = ${hcl(keyAttribute)}

  attribute {
    name = ${hcl(keyAttribute)}
    type = "S"
  }

  ttl {
    attribute_name = ${hcl(ttlAttribute)}
    enabled        = true
  }

  lifecycle {
    prevent_destroy = true
  }
}`;

function serverless(layout: Layout): string {
  for (const name of [layout.keyAttribute, layout.ttlAttribute, layout.tableName ?? '']) {
    if (name.includes('${')) {
      throw new UsageError(`Serverless takes ${show(name)} for one of its variables: choose a name without \${.`);
    }
  }
  return `resources:\n${cloudformation(layout).replace(/^/gm, '  ')}`;
}

const hclReference = (name: string): string => `\${${name}}`;

/** A tool that deploys: its form of the table, and its name for the ARN of the table in that form. */
interface Tool {
  readonly template: (layout: Layout) => string;
  readonly arn: unknown;
}

const ofCloudFormation: Tool = { template: cloudformation, arn: { 'Fn::GetAtt': ['Locks', 'Arn'] } };

/** The tools by their name. SAM and the Serverless Framework take CloudFormation's resources as they are. */
export const TOOLS: Readonly<Record<string, Tool>> = {
  cloudformation: ofCloudFormation,
  sam: ofCloudFormation,
  serverless: { ...ofCloudFormation, template: serverless },
  terraform: { template: terraform, arn: hclReference('aws_dynamodb_table.locks.arn') },
};

export interface PolicyOptions {
  readonly keys?: readonly string[];
  readonly keyPrefixes?: readonly string[];
  /** As `KEY=5`. */
  readonly permits?: readonly string[];
  readonly fleet?: boolean;
  readonly guardedWrites?: boolean;
  /** The tool whose template the policy stands beside. */
  readonly format?: string;
}

/** The longest policy that IAM takes in a role, in characters without white space. */
const MOST_CHARACTERS = 6_144;

/** Reads what was given as `KEY=5`. A key may have an equals sign. */
function permitsOf(given: readonly string[]): Record<string, number> {
  const permits = given.map((text): [string, number] => {
    const [, key, number] = /^(.+)=(\d+)$/s.exec(text) ?? [];
    if (key === undefined) throw new UsageError(`--permits must be as partner=5, but it is ${show(text)}.`);
    try {
      slotKeys(key, Number(number));
    } catch (error) {
      throw new UsageError(`--permits ${show(text)}: ${(error as Error).message}`);
    }
    return [key, Number(number)];
  });
  return Object.fromEntries(permits);
}

/** The policy of a function that locks some keys of a table. */
export function policyOf(tableName: string, options: PolicyOptions): object {
  const { keys = [], keyPrefixes = [], fleet = false } = options;
  const permits = permitsOf(options.permits ?? []);
  for (const key of [...keys, ...keyPrefixes, ...Object.keys(permits)]) {
    const fault = key === '' ? 'not be empty' : policyFault(key, show(key));
    if (fault !== undefined) throw new UsageError(`The key or prefix ${show(key)} must ${fault}.`);
  }
  if (keys.length + keyPrefixes.length + Object.keys(permits).length === 0) {
    throw new UsageError('A policy must name its locks: give --keys, --key-prefixes or --permits.');
  }
  if (fleet && keyPrefixes.length === 0) {
    throw new UsageError('A fleet is granted its locks by --key-prefixes: runTasks also keeps marks under such keys.');
  }
  const arn = tableName.startsWith('arn:') ? tableName : `arn:aws:dynamodb:*:*:table/${tableName}`;
  const Resource = TOOLS[options.format ?? '']?.arn ?? arn;
  const allow = (Action: string[], Condition: object) => ({ Effect: 'Allow', Action, Resource, Condition });
  const locks = { keys, keyPrefixes, permits };
  const { actions, conditions } = readOfSlots(fleet ? {} : locks);
  const ofSlots = conditions.map((condition) => allow(actions, condition));
  const Statement = [allow(lockActions(options), conditionOf(keyPatterns(locks))), ...ofSlots];
  const policy = { Version: '2012-10-17', Statement };
  const length = JSON.stringify(policy).length;
  if (length > MOST_CHARACTERS) {
    throw new UsageError(
      `The policy would have ${length} characters, and IAM takes ${MOST_CHARACTERS}: name fewer keys.`,
    );
  }
  return policy;
}
