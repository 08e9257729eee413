// SPDX-License-Identifier: Apache-2.0
#include "gpu_feed.h"

#include <algorithm>
#include <array>

namespace takt::cuda {
namespace {

constexpr std::size_t kOutputAlignment = 64;

std::size_t bytes_of(const TensorSpec& spec) {
  return must(byte_size(spec.type, spec.shape));
}

// Of an image of the model's size, 8 bits a channel.
std::size_t image_bytes(const ServedFile& file) {
  return bytes_of(file.input) / element_bytes(DataType::fp32);
}

std::size_t slot_bytes(const ServedFile& file, InputKind kind, std::int64_t rows) {
  return kind == InputKind::images ? image_bytes(file)
                                   : bytes_of(file.input) * static_cast<std::size_t>(rows);
}

std::size_t aligned(std::size_t bytes) {
  return (bytes + kOutputAlignment - 1) / kOutputAlignment * kOutputAlignment;
}

}  // namespace

ServedFile read_served_file(const std::filesystem::path& onnx) {
  constexpr std::int64_t kBatch = 2;  // tells a batch from any other dimension of size 1
  const graph::Graph graph = must(read_graph(onnx, {}, kBatch));
  if (graph.inputs.size() != 1) give_up(onnx.string() + ": it must have one input");
  const graph::Value& input = graph.value(graph.inputs.front());
  const Shape& shape = input.type.shape;
  if (input.type.type != DataType::fp32 || shape.size() != 4 || shape[0] != kBatch ||
      shape[1] != 3) {
    give_up(onnx.string() + ": input '" + input.name + "' is " + takt::to_string(shape) +
            "; it must be FP32 [batch, 3, height, width] with an open batch");
  }
  ServedFile file{onnx, {input.name, input.type.type, {shape.begin() + 1, shape.end()}}, true};
  for (const graph::ValueId id : graph.outputs) {
    const Shape& output = graph.value(id).type.shape;
    file.batched = file.batched && !output.empty() && output.front() == kBatch;
  }
  return file;
}

ModelOptions model_options(const ServedFile& file, const LoadSettings& settings,
                           std::vector<std::int64_t> batches, InputKind kind) {
  ModelOptions options;
  options.batches = std::move(batches);
  if (!file.batched) {
    Shape shape = file.input.shape;
    shape.insert(shape.begin(), options.batches.front());
    options.input_shapes.emplace(file.input.name, std::move(shape));
    options.batches = {0};
  }
  const auto precision = parse_precision(settings.precision);
  if (!precision) give_up("--precision must be fp32, tf32, fp16 or bf16");
  const auto effort = parse_effort(settings.effort);
  if (!effort) give_up("--effort must be fast, normal or max");
  options.precision = *precision;
  options.tuning.effort = *effort;
  options.tuning.concurrent = settings.concurrent;
  options.inputs_made_on_device = {kind == InputKind::images};
  return options;
}

ImagePreprocess preprocess_of_images() {
  ImagePreprocess preprocess;
  preprocess.color = PixelFormat::rgb8;
  return preprocess;
}

std::shared_ptr<SlotPool> feed_pool(const ServedFile& file, InputKind kind, int feeds,
                                    std::int64_t rows) {
  const std::int64_t slots = kind == InputKind::images ? feeds * rows : feeds;
  const std::array classes{
      SizeClass{slot_bytes(file, kind, rows), static_cast<std::uint32_t>(slots)}};
  return must(SlotPool::create("bench inputs", classes));
}

Feed make_feed(SlotPool& pool, const ServedFile& file, InputKind kind, std::int64_t rows) {
  Feed feed;
  const auto add_slot = [&] {
    const std::size_t bytes = slot_bytes(file, kind, rows);
    feed.slots.push_back(must(pool.acquire(bytes)));
    return feed.slots.back().bytes().first(bytes);
  };
  if (kind == InputKind::tensors) {
    const std::span<std::byte> tensor = add_slot();
    fill_with_noise(tensor, DataType::fp32, 1);
    feed.tensor = tensor;
    return feed;
  }
  const int height = static_cast<int>(file.input.shape[1]);
  const int width = static_cast<int>(file.input.shape[2]);
  for (std::int64_t row = 0; row < rows; ++row) {
    const std::span<std::byte> pixels = add_slot();
    fill_with_noise(pixels, DataType::uint8, static_cast<std::uint64_t>(row));
    const ImageView view{reinterpret_cast<const std::uint8_t*>(pixels.data()), width, height,
                         width * 3, PixelFormat::rgb8};
    feed.images.push_back({{view}, {}});
  }
  return feed;
}

InputData input_of(const ServedFile& file, const Feed& feed, std::int64_t rows) {
  if (!feed.images.empty()) return feed.images.front();
  Shape shape = file.input.shape;
  shape.insert(shape.begin(), rows);
  return TensorView{DataType::fp32, shape,
                    feed.tensor.first(must(byte_size(DataType::fp32, shape)))};
}

Requests make_requests(const Signature& signature, const ServedFile& file, const Feed& feed,
                       std::int64_t rows) {
  Requests requests;
  const std::int64_t rows_each = feed.images.empty() ? rows : 1;
  const auto count = static_cast<std::size_t>(rows / rows_each);
  std::size_t sample_bytes = 0;
  for (const TensorSpec& output : signature.outputs) {
    sample_bytes += aligned(bytes_of(output) * static_cast<std::size_t>(rows_each));
  }
  requests.room.resize(sample_bytes * count + kOutputAlignment);
  void* begin = requests.room.data();
  std::size_t space = requests.room.size();
  std::align(kOutputAlignment, sample_bytes * count, begin, space);
  std::span<std::byte> room{static_cast<std::byte*>(begin), sample_bytes * count};
  for (std::size_t i = 0; i < count; ++i) {
    requests.inputs.push_back({feed.images.empty() ? input_of(file, feed, rows) : feed.images[i]});
    std::vector<OutputBuffer>& outputs = requests.outputs.emplace_back();
    for (const TensorSpec& output : signature.outputs) {
      const std::size_t bytes = bytes_of(output) * static_cast<std::size_t>(rows_each);
      outputs.push_back({room.first(bytes), output.type, {}, 0});
      room = room.subspan(aligned(bytes));
    }
  }
  for (std::size_t i = 0; i < count; ++i) {
    requests.samples.push_back({requests.inputs[i], requests.outputs[i], rows_each});
  }
  return requests;
}

}  // namespace takt::cuda
