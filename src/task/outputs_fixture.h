// SPDX-License-Identifier: Apache-2.0
// Model outputs made in the tests, and what a post-processor makes of them.
// Thread-safe: plain values.
// Owns: the elements of the outputs.
#pragma once

#include "task/task.h"

#include <gtest/gtest.h>

#include <cstring>
#include <deque>
#include <string>
#include <utility>
#include <vector>

namespace takt::fixtures {

// Outputs of one request with their signature, which has no batch dimension.
struct Outputs {
  Signature signature{{}, {}, 8};
  std::deque<std::vector<std::byte>> bytes;
  std::vector<TensorView> views;

  template <typename T>
  Outputs& add(const std::string& name, DataType type, const Shape& shape,
               const std::vector<T>& values) {
    signature.outputs.push_back({name, type, shape});
    auto& stored = bytes.emplace_back(values.size() * sizeof(T));
    if (!values.empty()) std::memcpy(stored.data(), values.data(), stored.size());
    Shape batched{1};
    batched.insert(batched.end(), shape.begin(), shape.end());
    views.push_back({type, batched, stored});
    return *this;
  }
  Outputs& add(const std::string& name, const Shape& shape, const std::vector<float>& values) {
    return add(name, DataType::fp32, shape, values);
  }
};

// Model input and image of the same size: boxes stay where they are.
inline Placement unchanged(int width = 640, int height = 640) {
  return place({}, width, height, width, height, Fit::letterbox);
}

inline Result<TaskResult> run(const PostprocessSpec& spec, const Outputs& outputs,
                              const Placement& placement = unchanged()) {
  auto made = make_postprocessor(spec, outputs.signature);
  if (!made) return std::unexpected(made.error());
  return (*made)->run(outputs.views, placement);
}

inline std::vector<Detection> detections(const Result<TaskResult>& result) {
  EXPECT_TRUE(result) << (result ? "" : result.error().message);
  return result ? std::get<std::vector<Detection>>(*result) : std::vector<Detection>{};
}

inline std::string load_error(const PostprocessSpec& spec, const Signature& signature) {
  const auto made = make_postprocessor(spec, signature);
  if (made) return "accepted";
  EXPECT_EQ(made.error().kind, ErrorKind::invalid_input);
  return made.error().message;
}

inline std::string run_error(const PostprocessSpec& spec, const Outputs& outputs) {
  const auto result = run(spec, outputs);
  if (result) return "accepted";
  EXPECT_EQ(result.error().kind, ErrorKind::corrupt_output) << result.error().message;
  return result.error().message;
}

}  // namespace takt::fixtures
