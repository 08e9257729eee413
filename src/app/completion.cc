// SPDX-License-Identifier: Apache-2.0
#include "app/completion.h"

#include <CLI/CLI.hpp>

namespace takt::app {
namespace {

std::string option_words(const CLI::App& command) {
  std::string words;
  for (const CLI::Option* option : command.get_options()) {
    for (const std::string& name : option->get_lnames()) words += " --" + name;
  }
  return words;
}

}  // namespace

std::string bash_completion(const CLI::App& parser, const std::string& program) {
  std::string commands;
  std::string cases;
  for (const CLI::App* command : parser.get_subcommands({})) {
    if (command->get_group().empty()) continue;  // not for people
    commands += " " + command->get_name();
    cases += "    " + command->get_name() + ") words=\"" + option_words(*command) + "\" ;;\n";
  }
  return "# bash completion for " + program + "; load it with: source <(" + program +
         " completion bash)\n"
         "_" +
         program +
         "_complete() {\n"
         "  local current=${COMP_WORDS[COMP_CWORD]} command=${COMP_WORDS[1]} words=\n"
         "  if ((COMP_CWORD == 1)); then\n"
         "    words=\"" +
         commands + option_words(parser) +
         "\"\n"
         "  else\n"
         "    case $command in\n" +
         cases +
         "    esac\n"
         "  fi\n"
         "  mapfile -t COMPREPLY < <(compgen -W \"$words\" -- \"$current\")\n"
         "}\n"
         "complete -o default -F _" +
         program + "_complete " + program + "\n";
}

}  // namespace takt::app
