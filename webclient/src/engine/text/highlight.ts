// Code in colours, as a tree. A chunk of its own: load it with `import()`.

import bash from "highlight.js/lib/languages/bash";
import diff from "highlight.js/lib/languages/diff";
import ini from "highlight.js/lib/languages/ini";
import javascript from "highlight.js/lib/languages/javascript";
import json from "highlight.js/lib/languages/json";
import python from "highlight.js/lib/languages/python";
import typescript from "highlight.js/lib/languages/typescript";
import xml from "highlight.js/lib/languages/xml";
import yaml from "highlight.js/lib/languages/yaml";
import { createLowlight } from "lowlight";
import type { Highlighted } from "./trees";

/** Longer code stays plain. */
const LONGEST = 50_000;

const known = createLowlight({ bash, diff, ini, javascript, json, python, typescript, xml, yaml });
known.registerAlias({ bash: ["console", "shell", "shellsession"], python: ["py3", "pycon"], json: ["jsonl", "jsonc"] });

type Nodes = ReturnType<typeof known.highlight>["children"];

function treeOf(nodes: Nodes): Highlighted[] {
  return nodes.flatMap((node): Highlighted[] => {
    if (node.type === "text") return [node.value];
    if (node.type !== "element") return [];
    const classes = node.properties.className;
    return [{ classes: Array.isArray(classes) ? classes.map(String) : [], children: treeOf(node.children) }];
  });
}

/** The code in colours; null if the language is not known or there is too much of it. */
export function highlight(code: string, language: string): readonly Highlighted[] | null {
  if (code.length > LONGEST || !known.registered(language)) return null;
  return treeOf(known.highlight(language, code).children);
}
