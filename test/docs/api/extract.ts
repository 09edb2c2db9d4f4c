import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { Extractor, ExtractorConfig, ExtractorLogLevel, type IConfigFile } from '@microsoft/api-extractor';
import { entries, repository } from '../entries.ts';

/** An item of API Extractor's model, as far as the reference needs it. */
export interface ApiItem {
  readonly kind: string;
  readonly name?: string;
  readonly docComment?: string;
  readonly isOptional?: boolean;
  readonly isProtected?: boolean;
  readonly isStatic?: boolean;
  readonly parameters?: readonly { readonly parameterName: string; readonly isOptional: boolean }[];
  readonly excerptTokens?: readonly { readonly text: string }[];
  /** The bases of an interface. */
  readonly extendsTokenRanges?: readonly TokenRange[];
  /** The base of a class. */
  readonly extendsTokenRange?: TokenRange;
  readonly implementsTokenRanges?: readonly TokenRange[];
  readonly propertyTypeTokenRange?: TokenRange;
  readonly typeTokenRange?: TokenRange;
  readonly members?: readonly ApiItem[];
}

export interface TokenRange {
  readonly startIndex: number;
  readonly endIndex: number;
}

export interface PublicApi {
  /** API Extractor's report: each exported name with its signature, without prose. */
  readonly report: string;
  /** All declarations of API Extractor's model. Exported declarations also stand in the namespace of each entry. */
  readonly declarations: readonly ApiItem[];
}

/**
 * Compiles the declarations of all entries. API Extractor reads them as one program, with a namespace for each entry.
 */
export function extractPublicApi(): PublicApi {
  const folder = mkdtempSync(join(repository, 'test/docs/declarations-'));
  try {
    const tsc = join(repository, 'node_modules/typescript/bin/tsc');
    const build = ['-p', 'tsconfig.build.json', '--emitDeclarationOnly', '--outDir', folder];
    execFileSync(process.execPath, [tsc, ...build], { cwd: repository, stdio: ['ignore', 'inherit', 'inherit'] });
    const namespaces = [...entries()].map(([entry, source]) => {
      const name = basename(entry);
      return `import * as ${name} from './${source.replace(/\.ts$/, '.js')}';\nexport { ${name} };\n`;
    });
    writeFileSync(join(folder, 'entries.d.ts'), namespaces.join(''));
    return extract(folder);
  } finally {
    rmSync(folder, { recursive: true });
  }
}

function extract(folder: string): PublicApi {
  const silent = { default: { logLevel: ExtractorLogLevel.None } };
  const main = join(folder, 'entries.d.ts');
  const configObject: IConfigFile = {
    projectFolder: repository,
    mainEntryPointFilePath: main,
    compiler: { overrideTsconfig: { extends: join(repository, 'tsconfig.build.json'), include: [], files: [main] } },
    apiReport: {
      enabled: true,
      includeForgottenExports: true,
      reportFolder: folder,
      reportTempFolder: folder,
      reportFileName: 'report',
    },
    docModel: { enabled: true, includeForgottenExports: true, apiJsonFilePath: join(folder, 'model.json') },
    dtsRollup: { enabled: false },
    tsdocMetadata: { enabled: false },
    messages: { extractorMessageReporting: silent, tsdocMessageReporting: silent },
  };
  const config = ExtractorConfig.prepare({
    configObject,
    configObjectFullPath: undefined,
    packageJsonFullPath: join(repository, 'package.json'),
  });
  const problems: string[] = [];
  const { succeeded } = Extractor.invoke(config, {
    localBuild: true,
    messageCallback: (message) => {
      message.handled = true;
      const isProblem = message.logLevel === 'error' || message.logLevel === 'warning';
      // A console message says that the report is new. The report is always new, since the folder is new.
      if (isProblem && !message.messageId.startsWith('console-')) {
        problems.push(message.formatMessageWithLocation(folder));
      }
    },
  });
  if (!succeeded || problems.length > 0) throw new Error(`API Extractor failed:\n${problems.join('\n')}`);
  const model: ApiItem = JSON.parse(readFileSync(join(folder, 'model.json'), 'utf8'));
  return {
    report: readFileSync(join(folder, 'report.api.md'), 'utf8'),
    declarations: model.members?.[0]?.members ?? [],
  };
}
