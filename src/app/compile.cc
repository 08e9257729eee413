// SPDX-License-Identifier: Apache-2.0
// `takt compile`: a model tuned and compiled for a GPU ahead of time.
#include "app/command_run.h"
#include "app/commands.h"
#include "app/compile_defaults.h"
#include "app/compile_options.h"
#include "app/compile_report.h"
#include "app/progress.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <optional>
#include <string>
#include <string_view>

namespace takt::app {
namespace {

// A bar for each stage, drawn once it takes longer than a person waits without a sign.
class StageProgress final : public cuda::CompileObserver {
 public:
  void progress(std::string_view stage, int done, int total) override {
    const auto now = std::chrono::steady_clock::now();
    if (stage != stage_) {
      bar_.reset();
      stage_ = stage;
      begin_ = now;
    }
    if (now - begin_ < std::chrono::seconds(2)) return;
    if (!bar_) bar_.emplace(stage_, count(total));
    bar_->update(count(done));
  }

 private:
  static std::uint64_t count(int number) { return static_cast<std::uint64_t>(std::max(number, 0)); }

  std::string stage_;
  std::chrono::steady_clock::time_point begin_;
  std::optional<Progress> bar_;
};

}  // namespace

int run_compile(CompileArguments arguments) {
  // What is wrong with the command line comes first.
  Result<cuda::CompileOptions> options = compile_options(arguments);
  if (!options) return report_error(options.error());
  if (Result<void> filled = fill_from_repository(arguments); !filled) {
    return report_error(filled.error());
  }
  options = compile_options(arguments);
  if (!options) return report_error(options.error());
  options->takt_version = TAKT_VERSION;
  const Result<cuda::CompileReport> report = [&] {
    StageProgress progress;  // its line ends before anything else is printed
    return cuda::compile_model(arguments.model, *options, progress);
  }();
  if (!report) return report_error(report.error());
  fmt::print("{}", arguments.json ? to_json(*report) : to_table(*report, arguments.verbose));
  return kExitOk;
}

}  // namespace takt::app
