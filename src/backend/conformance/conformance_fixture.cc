// SPDX-License-Identifier: Apache-2.0
#include "backend/conformance/conformance_fixture.h"

#include "core/string_tensor.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <random>

namespace takt::conformance {
namespace {

template <typename T>
void append_row(std::vector<std::byte>& bytes, std::size_t count, std::uint64_t seed) {
  std::mt19937_64 random(seed);
  for (std::size_t i = 0; i < count; ++i) {
    const auto value = static_cast<T>(static_cast<int>(random() % 2001) - 1000) / T{100};
    const auto* from = reinterpret_cast<const std::byte*>(&value);
    bytes.insert(bytes.end(), from, from + sizeof value);
  }
}

// Of any bytes and up to 20 of them, some with none.
void append_strings(std::vector<std::byte>& bytes, std::size_t count, std::uint64_t seed) {
  std::mt19937_64 random(seed);
  for (std::size_t i = 0; i < count; ++i) {
    std::string text(random() % 21, '\0');
    for (char& letter : text) letter = static_cast<char>(random());
    const std::size_t used = bytes.size();
    bytes.resize(used + kStringLengthBytes + text.size());
    static_cast<void>(put_string(bytes, used, text));
  }
}

}  // namespace

std::filesystem::path model_file(std::string_view name) {
  // Another machine has them elsewhere.
  const char* const configured = std::getenv("TAKT_TEST_MODELS");
  const std::filesystem::path folder = configured != nullptr ? configured : TAKT_TEST_MODELS;
  return folder / (std::string(name) + ".onnx");
}

TestModel conv_net() {
  return {"conv_net",
          {{"image", DataType::fp32, {2, 16, 16}}},
          {{"map", DataType::fp32, {4, 8, 8}}, {"scores", DataType::fp32, {5}}}};
}

TestModel large_conv_net() {
  return {"conv_net_any_size",
          {{"image", DataType::fp32, {2, 512, 512}}},
          {{"map", DataType::fp32, {4, 256, 256}}, {"scores", DataType::fp32, {5}}}};
}

TestModel distance() {
  return {"distance",
          {{"board", DataType::fp32, {1, 8, 8}}, {"golden", DataType::fp32, {1, 8, 8}}},
          {{"distance", DataType::fp32, {1}}}};
}

TestModel integers() {
  return {"integers",
          {{"x", DataType::int64, {5}}},
          {{"out", DataType::int64, {5}}, {"positive", DataType::boolean, {5}}}};
}

TestModel unbatched() {
  return {"identity_batch1",
          {{"x", DataType::fp32, {1, 3, 4}}},
          {{"out", DataType::fp32, {1, 3, 4}}},
          0};
}

TestModel strings() {
  return {"triton/simple_identity/1/model",
          {{"INPUT0", DataType::bytes, {3}}},
          {{"OUTPUT0", DataType::bytes, {3}}}};
}

LoadOptions options_of(const TestModel& model) {
  LoadOptions options;
  options.inputs = model.plans;
  options.batch_max = model.batch_max;
  options.input_specs = model.inputs;
  options.output_specs = model.outputs;
  return options;
}

std::vector<float> Request::floats(std::size_t output) const {
  std::vector<float> values(outputs[output].bytes_used / sizeof(float));
  std::memcpy(values.data(), outputs[output].room.data(), values.size() * sizeof(float));
  return values;
}

void add_tensor(Request& request, const TensorSpec& spec, bool batched, std::uint64_t seed) {
  std::vector<std::byte>& bytes = request.memory.emplace_back();
  const std::size_t count = *element_count(spec.shape);
  for (std::int64_t row = 0; row < request.rows; ++row) {
    const std::uint64_t row_seed = seed + static_cast<std::uint64_t>(row);
    if (spec.type == DataType::int64) {
      append_row<std::int64_t>(bytes, count, row_seed);
    } else if (spec.type == DataType::bytes) {
      append_strings(bytes, count, row_seed);
    } else {
      append_row<float>(bytes, count, row_seed);
    }
  }
  Shape shape = spec.shape;
  if (batched) shape.insert(shape.begin(), request.rows);
  request.inputs.emplace_back(TensorView{spec.type, shape, bytes});
}

void add_outputs(Request& request, const Signature& signature, std::ptrdiff_t spare) {
  for (const TensorSpec& spec : signature.outputs) {
    const auto bytes = static_cast<std::ptrdiff_t>(byte_size(spec.type, spec.shape).value_or(1024));
    auto& room = request.memory.emplace_back(
        static_cast<std::size_t>(std::max<std::ptrdiff_t>(bytes * request.rows + spare, 0)));
    request.outputs.push_back({room, spec.type, {}, 0});
  }
}

Request make_request(const Signature& signature, std::uint64_t seed, std::int64_t rows) {
  Request request;
  request.rows = rows;
  std::uint64_t input_seed = seed * 1000;
  for (const TensorSpec& spec : signature.inputs) {
    add_tensor(request, spec, signature.batch_max > 0, input_seed);
    input_seed += 500;
  }
  add_outputs(request, signature);
  return request;
}

Image noise_image(int width, int height, PixelFormat format, std::uint64_t seed) {
  Image image(width, height, format);
  std::mt19937_64 random(seed);
  for (std::uint8_t& pixel : image.pixels) pixel = static_cast<std::uint8_t>(random());
  return image;
}

std::vector<float> preprocessed(const std::vector<ImageView>& images,
                                const ImagePreprocess& preprocess) {
  const int per_image = channel_count(preprocess.color);
  const int width = images.front().width;
  const int height = images.front().height;
  const auto channels = static_cast<std::size_t>(per_image) * images.size();
  const auto plane = static_cast<std::size_t>(width) * static_cast<std::size_t>(height);
  std::vector<float> tensor(channels * plane);
  for (std::size_t c = 0; c < channels; ++c) {
    const ImageView& image = images[c / static_cast<std::size_t>(per_image)];
    const auto part = static_cast<int>(c) % per_image;
    const float mean = preprocess.mean.empty() ? 0 : preprocess.mean[c];
    const float stddev = preprocess.stddev.empty() ? 1 : preprocess.stddev[c];
    for (std::size_t pixel = 0; pixel < plane; ++pixel) {
      const int x = static_cast<int>(pixel) % width;
      const int y = static_cast<int>(pixel) / width;
      const float value =
          (static_cast<float>(image.row(y)[x * per_image + part]) * preprocess.scale - mean) /
          stddev;
      tensor[preprocess.channels_last ? pixel * channels + c : c * plane + pixel] = value;
    }
  }
  return tensor;
}

Running::Running(Instance& instance, std::deque<Request>& requests) {
  for (Request& request : requests) samples_.push_back(request.sample());
  std::promise<BatchOutcome> promise;
  done_ = promise.get_future();
  submitted_ =
      instance.submit(samples_, [promise = std::move(promise)](BatchOutcome outcome) mutable {
        promise.set_value(std::move(outcome));
      });
}

BatchOutcome Running::outcome() {
  if (!submitted_) return {submitted_, {}};
  if (done_.wait_for(std::chrono::seconds(30)) != std::future_status::ready) {
    return {fail(ErrorKind::deadline_exceeded, "the batch did not complete within 30 s"), {}};
  }
  return done_.get();
}

BatchOutcome run(Instance& instance, std::deque<Request>& requests) {
  return Running(instance, requests).outcome();
}

BatchOutcome run(Instance& instance, Request& request) {
  std::vector<Sample> samples{request.sample()};
  std::promise<BatchOutcome> promise;
  std::future<BatchOutcome> done = promise.get_future();
  const Result<void> submitted = instance.submit(
      samples, [&promise](BatchOutcome outcome) { promise.set_value(std::move(outcome)); });
  if (!submitted) return {submitted, {}};
  return done.get();
}

}  // namespace takt::conformance
