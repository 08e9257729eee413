// SPDX-License-Identifier: Apache-2.0
// A model with one input of images, how it is to be loaded, and requests that feed it from slots.
// Thread-safe: plain values and functions; a Feed and its Requests are one thread's.
// Owns: a Feed its slots, Requests the room of their outputs; the views of Requests look into both.
#pragma once

#include "backend/cuda/run/compiled_model.h"
#include "backend/image_input.h"
#include "core/inference.h"
#include "core/tensor.h"
#include "gpu_measure.h"
#include "memory/slot_pool.h"

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

namespace takt::cuda {

struct ServedFile {
  std::filesystem::path onnx;
  TensorSpec input;  // [3, H, W]
  // Every output has a row for each image. Otherwise (boxes of a whole batch, one after the other) the backend
  // loads the file for single images, as `max_batch_size: 0` does.
  bool batched = true;
};

// Gives up on a file that hasn't one FP32 input [batch, 3, H, W] with an open batch.
[[nodiscard]] ServedFile read_served_file(const std::filesystem::path& onnx);

enum class InputKind : std::uint8_t {
  images,   // u8 RGB of the model's size, which the device scales by 1/255
  tensors,  // finished FP32
};

struct LoadSettings {
  std::string precision = "fp16";
  std::string effort = "normal";
  int concurrent = 1;  // instances that tuning times beside each other, whatever runs then
  Duration spin{};     // of an instance, as LoadOptions
};

// The model at these batch sizes (of a file that isn't batched: at one), as the backend builds it.
[[nodiscard]] ModelOptions model_options(const ServedFile& file, const LoadSettings& settings,
                                         std::vector<std::int64_t> batches, InputKind kind);
[[nodiscard]] ImagePreprocess preprocess_of_images();

// What one instance reads.
struct Feed {
  std::vector<Slot> slots;
  std::vector<ImageStack> images;     // one a row
  std::span<const std::byte> tensor;  // of all rows
};

// With room for `feeds` of so many rows.
[[nodiscard]] std::shared_ptr<SlotPool> feed_pool(const ServedFile& file, InputKind kind, int feeds,
                                                  std::int64_t rows);
[[nodiscard]] Feed make_feed(SlotPool& pool, const ServedFile& file, InputKind kind,
                             std::int64_t rows);

// One batch of the feed's first rows.
struct Requests {
  std::vector<std::vector<InputData>> inputs;
  std::vector<std::byte> room;
  std::vector<std::vector<OutputBuffer>> outputs;
  std::vector<Sample> samples;
};
[[nodiscard]] Requests make_requests(const Signature& signature, const ServedFile& file,
                                     const Feed& feed, std::int64_t rows);
// The feed's first row, or rows where it is a tensor.
[[nodiscard]] InputData input_of(const ServedFile& file, const Feed& feed, std::int64_t rows);

}  // namespace takt::cuda
