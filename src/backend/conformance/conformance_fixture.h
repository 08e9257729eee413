// SPDX-License-Identifier: Apache-2.0
// What the tests of backends share: descriptions of the test models, requests that own their
// memory, and running a batch to its completion. Thread-safe: each object on one thread at a time.
// Owns: Request owns its inputs and outputs.
#pragma once

#include "backend/backend.h"
#include "core/inference.h"

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <filesystem>
#include <future>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace takt::conformance {

// A file of the folder that tests/models/make_models.py fills: that of the environment variable TAKT_TEST_MODELS,
// and without it the one of the build.
[[nodiscard]] std::filesystem::path model_file(std::string_view name);

struct TestModel {
  std::string file;  // without ".onnx"
  std::vector<TensorSpec> inputs;
  std::vector<TensorSpec> outputs;
  int batch_max = 8;
  std::vector<InputPlan> plans = {};
};

[[nodiscard]] TestModel conv_net();        // FP32 [2,16,16] to [4,8,8] and [5]
[[nodiscard]] TestModel large_conv_net();  // the same on [2,512,512]: runs some milliseconds
[[nodiscard]] TestModel distance();        // two FP32 [1,8,8] to [1]
[[nodiscard]] TestModel integers();        // INT64 [5] to INT64 [5] and BOOL [5]
[[nodiscard]] TestModel unbatched();       // FP32 [1,3,4] to itself, no batch dimension
[[nodiscard]] TestModel strings();         // BYTES [3] to itself

[[nodiscard]] LoadOptions options_of(const TestModel& model);

// One request with its own memory, which its views look into: moved, never copied.
struct Request {
  Request() = default;
  Request(Request&&) noexcept = default;
  Request& operator=(Request&&) noexcept = default;

  std::vector<InputData> inputs;
  std::vector<OutputBuffer> outputs;
  std::int64_t rows = 1;
  std::deque<std::vector<std::byte>> memory;
  std::deque<Image> images;

  [[nodiscard]] Sample sample() { return {inputs, outputs, rows}; }
  [[nodiscard]] std::vector<float> floats(std::size_t output) const;
};

// Adds a tensor input; the values of row r of `seed` are those of one row of `seed + r`.
void add_tensor(Request& request, const TensorSpec& spec, bool batched, std::uint64_t seed);
// Adds room for every output of the model; `spare` bytes more or less. A row of strings has 1 KiB.
void add_outputs(Request& request, const Signature& signature, std::ptrdiff_t spare = 0);
[[nodiscard]] Request make_request(const Signature& signature, std::uint64_t seed,
                                   std::int64_t rows = 1);
[[nodiscard]] Image noise_image(int width, int height, PixelFormat format, std::uint64_t seed);
// The finished FP32 tensor [C,H,W] or [H,W,C] of images that have the model's size.
[[nodiscard]] std::vector<float> preprocessed(const std::vector<ImageView>& images,
                                              const ImagePreprocess& preprocess);

// A batch on its way; the requests must outlive it.
class Running {
 public:
  Running(Instance& instance, std::deque<Request>& requests);
  [[nodiscard]] const Result<void>& submitted() const noexcept { return submitted_; }
  // Waits for at most 30 s.
  [[nodiscard]] BatchOutcome outcome();

 private:
  std::vector<Sample> samples_;
  std::future<BatchOutcome> done_;
  Result<void> submitted_;
};

// Submits and waits; a refused batch gives the refusal as its status.
[[nodiscard]] BatchOutcome run(Instance& instance, std::deque<Request>& requests);
[[nodiscard]] BatchOutcome run(Instance& instance, Request& request);

}  // namespace takt::conformance
