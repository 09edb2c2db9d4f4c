import type * as kms from 'aws-cdk-lib/aws-kms';
import type { Construct } from 'constructs';
import { invalid, shown } from './invalid.ts';

/**
 * The key that a policy must name. IAM takes the ARN of an alias for the ARN of no key, so a grant on an alias allows nothing.
 * @throws TypeError for what is no key, and for an alias that was imported by its name alone.
 */
export function keyBehind(scope: Construct, key: kms.IKey): kms.IKey {
  if (typeof key?.keyArn !== 'string') {
    throw invalid(scope, `encryptionKey must be a Key, such as Key.fromKeyArn(), but it is ${shown(key)}.`);
  }
  if (!('aliasName' in key)) return key;
  try {
    return (key as kms.IAlias).aliasTargetKey;
  } catch {
    throw invalid(
      scope,
      `encryptionKey must be a Key, since no policy names a key by its alias, but it is the alias ${key.aliasName}; pass the key, such as Key.fromKeyArn() or Key.fromLookup().`,
    );
  }
}
