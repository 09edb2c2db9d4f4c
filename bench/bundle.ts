// The bytes of a function's bundle.
import { gzipSync } from 'node:zlib';
import { bundle, programs } from './lib/bundles.ts';
import type { Measure } from './lib/measure.ts';

export default {
  about: 'Bytes of a bundle by esbuild, minified, with the SDK inside and without.',
  servers: ['none'],
  async run() {
    const rows = [];
    for (const { name, source } of programs([])) {
      const [whole, part] = [await bundle(source), await bundle(source, ['@aws-sdk/*'])];
      const figures = {
        'with the SDK': whole?.length,
        'with, gzipped': whole && gzipSync(whole).length,
        'without the SDK': part?.length,
        'without, gzipped': part && gzipSync(part).length,
      };
      if (whole) rows.push({ name, figures });
    }
    return rows;
  },
} satisfies Measure;
