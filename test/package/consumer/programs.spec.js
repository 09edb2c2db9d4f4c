// CommonJS jest, as `cdk init` sets it up: TypeScript is transformed to CommonJS and packages are required.
for (const program of process.env.PROGRAMS.split(' ')) {
  test(program, () => require(`./${program}`).run());
}
