// SPDX-License-Identifier: Apache-2.0
#include "line/decision.h"

#include "core/suggest.h"
#include "line/condition.h"

#include <algorithm>
#include <string_view>
#include <utility>

namespace takt::line {
namespace {

// One that speaks for a verdict.
struct Voice {
  Verdict verdict = Verdict::review;
  std::string reason;  // empty: counts, without words of its own
  std::string route;
};

std::optional<Voice> voice_of(const Rule& rule, const DecisionSpec& spec,
                              const FrameFindings& findings) {
  if (rule.when.empty()) return std::nullopt;
  std::string reason = "rule:" + rule.name;
  for (const Condition& condition : rule.when) {
    const std::optional<std::string> text = evidence(condition, findings, spec.regions);
    if (!text) return std::nullopt;
    reason += " " + *text;
  }
  return Voice{rule.then, std::move(reason), rule.route};
}

std::string reason_of(const TaskFinding& finding) {
  std::string reason = "task:" + finding.task + " " + std::string(to_string(finding.state));
  if (finding.state == TaskState::failed && finding.error) {
    reason += " " + std::string(to_string(finding.error->kind));
  }
  if (finding.stand_in && finding.stand_in->error) {
    reason += "; its fallback " + finding.stand_in->model + ", asked after " +
              std::string(to_string(finding.stand_in->cause.kind)) + ": " +
              std::string(to_string(finding.stand_in->error->kind));
  }
  return reason;
}

// Says what a verdict rests on; speaks for none.
void add_stand_ins(const FrameFindings& findings, std::vector<std::string>& reasons) {
  for (const TaskFinding& finding : findings.tasks) {
    if (finding.state != TaskState::answered || !finding.stand_in) continue;
    reasons.push_back("task:" + finding.task + " answered by its fallback " +
                      finding.stand_in->model + ": " +
                      std::string(to_string(finding.stand_in->cause.kind)));
  }
}

void add_fallbacks(const DecisionSpec& spec, const FrameFindings& findings,
                   std::vector<Voice>& voices) {
  const bool unjudged = findings.dropped || findings.damage.has_value();
  if (findings.dropped) voices.push_back({spec.fallback, "dropped", ""});
  if (findings.damage) {
    voices.push_back({spec.fallback, "damaged: " + findings.damage->message, ""});
  }
  for (const TaskFinding& finding : findings.tasks) {
    if (finding.state == TaskState::answered) continue;
    voices.push_back({finding.fallback, unjudged ? "" : reason_of(finding), ""});
  }
}

std::ptrdiff_t rank(const DecisionSpec& spec, Verdict verdict) {
  return std::ranges::find(spec.precedence, verdict) - spec.precedence.begin();
}

std::string route_of(const DecisionSpec& spec, Verdict verdict, const std::vector<Voice>& voices) {
  for (const Voice& voice : voices) {
    if (voice.verdict == verdict && !voice.route.empty()) return voice.route;
  }
  const auto route = spec.routes.find(verdict);
  return route == spec.routes.end() ? std::string{} : route->second;
}

}  // namespace

std::string_view to_string(TaskState state) noexcept {
  switch (state) {
    case TaskState::answered:
      return "answered";
    case TaskState::late:
      return "late";
    case TaskState::failed:
      return "failed";
    case TaskState::not_run:
      return "not run";
  }
  return "failed";
}

Decision decide(const DecisionSpec& spec, const FrameFindings& findings) {
  std::vector<Voice> voices;
  add_fallbacks(spec, findings, voices);
  Decision decision;
  decision.by_fallback = !voices.empty();
  for (const Rule& rule : spec.rules) {
    if (std::optional<Voice> voice = voice_of(rule, spec, findings)) {
      voices.push_back(std::move(*voice));
    }
  }
  std::ranges::stable_sort(voices, {},
                           [&](const Voice& voice) { return rank(spec, voice.verdict); });
  decision.verdict = voices.empty() ? spec.verdict_default : voices.front().verdict;
  decision.route = route_of(spec, decision.verdict, voices);
  for (Voice& voice : voices) {
    if (!voice.reason.empty()) decision.reasons.push_back(std::move(voice.reason));
  }
  if (decision.reasons.empty() && decision.verdict != Verdict::pass) {
    decision.reasons.emplace_back("no rule");
  }
  add_stand_ins(findings, decision.reasons);
  return decision;
}

}  // namespace takt::line
