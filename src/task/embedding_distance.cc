// SPDX-License-Identifier: Apache-2.0
// Siamese networks: the distance of two embeddings [D], or one distance that the model computes.
// Above distance_max the whole region counts as one difference.
#include "task/outputs.h"
#include "task/postprocessors.h"

#include <cmath>

namespace takt::postprocess {
namespace {

float euclidean(std::span<const float> a, std::span<const float> b) {
  double sum = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    const double difference = static_cast<double>(a[i]) - static_cast<double>(b[i]);
    sum += difference * difference;
  }
  return static_cast<float>(std::sqrt(sum));
}

// 1 - cos of the angle: 0 for the same direction, 2 for the opposite. An embedding of length 0 has
// no direction and is as far as can be told: 1.
float cosine(std::span<const float> a, std::span<const float> b) {
  double dot = 0;
  double aa = 0;
  double bb = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    const auto x = static_cast<double>(a[i]);
    const auto y = static_cast<double>(b[i]);
    dot += x * y;
    aa += x * x;
    bb += y * y;
  }
  if (aa == 0 || bb == 0) return 1;
  return static_cast<float>(1 - dot / std::sqrt(aa * bb));
}

class EmbeddingDistance final : public Postprocessor {
 public:
  EmbeddingDistance(const PostprocessSpec& spec, const Signature& signature) : spec_(spec) {
    for (const TensorSpec& output : signature.outputs) names_.push_back(output.name);
  }

  Result<TaskResult> run(std::span<const TensorView> outputs,
                         const Placement& placement) const override {
    if (outputs.size() != names_.size()) return corrupt(names_[0], "missing");
    const auto first = read_floats(outputs[0], names_[0]);
    if (!first) return std::unexpected(first.error());
    DistanceResult result;
    if (outputs.size() == 1) {
      if (first->values.size() != 1) {
        return corrupt(names_[0], "shape " + to_string(outputs[0].shape) + ", expected one value");
      }
      result.distance = first->values[0];
    } else {
      const auto second = read_floats(outputs[1], names_[1]);
      if (!second) return std::unexpected(second.error());
      if (first->values.empty() || first->values.size() != second->values.size()) {
        return corrupt(names_[1], "shape " + to_string(outputs[1].shape) + ", expected " +
                                      to_string(outputs[0].shape) + " as of '" + names_[0] + "'");
      }
      result.distance = spec_.layout == "cosine" ? cosine(first->values, second->values)
                                                 : euclidean(first->values, second->values);
    }
    if (!std::isfinite(result.distance)) return corrupt(names_[0], "the distance isn't finite");
    if (result.distance > spec_.distance_max) {
      result.differences.push_back(whole_region(result.distance, placement));
    }
    return TaskResult(std::move(result));
  }

 private:
  static Difference whole_region(float distance, const Placement& placement) {
    const auto x = static_cast<float>(placement.content_x);
    const auto y = static_cast<float>(placement.content_y);
    const Box content{x, y, x + static_cast<float>(placement.content_width),
                      y + static_cast<float>(placement.content_height)};
    const Box box = to_source(content, placement);
    return {box, distance, box.area()};
  }

  PostprocessSpec spec_;
  std::vector<std::string> names_;
};

bool known_and_different(const Shape& a, const Shape& b) {
  if (a.size() != b.size()) return true;
  for (std::size_t i = 0; i < a.size(); ++i) {
    if (a[i] != b[i] && a[i] != -1 && b[i] != -1) return true;
  }
  return false;
}

bool may_be_one_value(const Shape& shape) {
  for (const std::int64_t dimension : shape) {
    if (dimension != 1 && dimension != -1) return false;
  }
  return true;
}

}  // namespace

Made make_embedding_distance(const PostprocessSpec& spec, const Signature& signature) {
  if (auto checked = check_layout(spec, {"l2", "cosine"}); !checked) {
    return std::unexpected(checked.error());
  }
  const auto& outputs = signature.outputs;
  bool fits = (outputs.size() == 1 && may_be_one_value(outputs[0].shape)) ||
              (outputs.size() == 2 && !known_and_different(outputs[0].shape, outputs[1].shape));
  for (const TensorSpec& output : outputs) fits = fits && is_floating(output.type);
  if (!fits) {
    return fail(ErrorKind::invalid_input,
                "the model has " + describe(signature) +
                    "; expected two embeddings of the same shape, or one output with one distance; "
                    "for a map of distances use distance_map");
  }
  return std::make_unique<EmbeddingDistance>(spec, signature);
}

}  // namespace takt::postprocess
