// What is wrong with a setting, in words.

import type { SettingsProblem, ToolsProblem } from "../../engine";
import { words as table } from "./strings";

const words = table.problem;

function tools_words(problem: ToolsProblem): string {
  switch (problem.kind) {
    case "notJson":
      return words.tools.notJson(problem.at);
    case "notAList":
      return words.tools.notAList;
    case "tooMany":
      return words.tools.tooMany(problem.most);
    case "badTool":
      return `${words.tools.which(problem.index)} ${words.tools.badTool[problem.fault]}.`;
  }
}

export function problem_words(problem: SettingsProblem): string {
  switch (problem.problem) {
    case "badTools":
      return problem.tools ? tools_words(problem.tools) : words.tools.notAList;
    case "outOfRange":
      return words.outOfRange(problem.least, problem.most);
    default:
      return words[problem.problem];
  }
}
