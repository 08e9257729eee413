// SPDX-License-Identifier: Apache-2.0
// Classifiers: one output of C logits, or of probabilities, to the best class and all scores.
#include "task/outputs.h"
#include "task/postprocessors.h"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace takt::postprocess {
namespace {

// Values in 0..1 whose sum is 1 to a thousandth have been through a softmax already. Logits meet
// that by accident only; `layout` settles it.
bool are_probabilities(std::span<const float> values) {
  const bool fractions = std::ranges::all_of(values, [](float v) { return v >= 0 && v <= 1; });
  return fractions && std::abs(std::accumulate(values.begin(), values.end(), 0.0F) - 1.0F) < 1e-3F;
}

std::vector<float> softmax(std::span<const float> logits) {
  const float largest = *std::ranges::max_element(logits);
  std::vector<float> scores(logits.size());
  float sum = 0;
  for (std::size_t i = 0; i < logits.size(); ++i) sum += scores[i] = std::exp(logits[i] - largest);
  for (float& score : scores) score /= sum;
  return scores;
}

class Softmax final : public Postprocessor {
 public:
  Softmax(const PostprocessSpec& spec, std::string output)
      : spec_(spec), output_(std::move(output)) {}

  Result<TaskResult> run(std::span<const TensorView> outputs, const Placement&) const override {
    if (outputs.empty()) return corrupt(output_, "missing");
    const auto values = read_floats(outputs[0], output_);
    if (!values) return std::unexpected(values.error());
    const std::size_t classes = spec_.classes.size();
    if (values->values.empty() || (classes != 0 && values->values.size() != classes)) {
      return corrupt(output_, "shape " + to_string(outputs[0].shape) + ", expected " +
                                  std::to_string(classes) + " values, one a class");
    }
    const bool finished = spec_.layout == "probabilities" ||
                          (spec_.layout == "auto" && are_probabilities(values->values));
    Classification result;
    result.scores = finished ? std::vector<float>(values->values.begin(), values->values.end())
                             : softmax(values->values);
    const auto best = std::ranges::max_element(result.scores);
    result.class_index = static_cast<int>(best - result.scores.begin());
    result.score = *best;
    return TaskResult(std::move(result));
  }

 private:
  PostprocessSpec spec_;
  std::string output_;
};

// Elements of one sample: dimensions of 1 and a leading "any" (the batch) don't count; -1: not known.
std::int64_t values_of(const TensorSpec& output, const Signature& signature) {
  std::int64_t values = 1;
  for (std::size_t i = 0; i < output.shape.size(); ++i) {
    const bool batch = i == 0 && signature.batch_max == 0 && output.shape.size() > 1;
    if (output.shape[i] == -1 && !batch) return -1;
    if (output.shape[i] != -1) values *= output.shape[i];
  }
  return values;
}

}  // namespace

Made make_softmax(const PostprocessSpec& spec, const Signature& signature) {
  if (auto checked = check_layout(spec, {"logits", "probabilities"}); !checked) {
    return std::unexpected(checked.error());
  }
  const auto classes = static_cast<std::int64_t>(spec.classes.size());
  const bool one = signature.outputs.size() == 1 && is_floating(signature.outputs[0].type);
  const std::int64_t values = one ? values_of(signature.outputs[0], signature) : 0;
  if (!one || (classes != 0 && values != -1 && values != classes)) {
    return fail(ErrorKind::invalid_input,
                "the model has " + describe(signature) + "; expected one float output of [" +
                    (classes == 0 ? std::string("C") : std::to_string(classes)) +
                    "], one value a class; check the number of classes");
  }
  return std::make_unique<Softmax>(spec, signature.outputs[0].name);
}

}  // namespace takt::postprocess
