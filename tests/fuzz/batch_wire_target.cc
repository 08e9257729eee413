// SPDX-License-Identifier: Apache-2.0
// Requests and replies of batches from bytes that the other process may have made up.
#include "ipc/batch_wire.h"
#include "target.h"

#include <array>
#include <cstdint>

namespace takt::fuzz {
namespace {

enum class Part : std::uint8_t { request, reply, count };

// The memory that a batch may name: two regions of inputs, one of outputs.
struct Shared {
  std::array<std::byte, 1024> images{};
  std::array<std::byte, 64> tensors{};
  std::array<std::byte, 256> rooms{};
  ipc::RegionTable inputs;
  ipc::RegionTable outputs;

  Shared() {
    inputs.add(images);
    inputs.add(tensors);
    outputs.add(rooms);
  }
};

Shared& shared() {
  static Shared memory;
  return memory;
}

bool lies_in(const ipc::RegionTable& regions, const void* address, std::size_t bytes) {
  return bytes == 0 || regions.find(address, bytes).has_value();
}

// False where something has no bytes: such a thing has no place, and so it can't be sent again.
bool check_input(const InputData& data) {
  const ipc::RegionTable& regions = shared().inputs;
  if (const auto* tensor = std::get_if<TensorView>(&data)) {
    require(lies_in(regions, tensor->bytes.data(), tensor->bytes.size()), "a tensor lies inside");
    require(tensor->shape.size() <= ipc::kRankMax, "ranks are bounded");
    require(tensor->type <= DataType::bytes, "types are known");
    return !tensor->bytes.empty();
  }
  const auto& stack = std::get<ImageStack>(data);
  require(stack.images.size() <= ipc::kImagesMax, "images are bounded");
  for (const ImageView& image : stack.images) {
    require(image.width > 0 && image.height > 0, "images have a size");
    require(image.format <= PixelFormat::bgr8, "formats are known");
    require(image.stride_bytes >= std::int64_t{image.width} * channel_count(image.format),
            "rows don't overlap");
    require(regions.find(image.pixels, image.byte_size()).has_value(), "pixels lie inside");
  }
  return true;
}

bool check_batch(BatchView batch) {
  require(!batch.empty(), "a batch is never empty");
  bool can_be_sent_again = true;
  for (const Sample& sample : batch) {
    for (const InputData& input : sample.inputs) can_be_sent_again &= check_input(input);
    for (const OutputBuffer& output : sample.outputs) {
      require(lies_in(shared().outputs, output.room.data(), output.room.size()),
              "rooms lie inside");
      require(output.bytes_used == 0, "rooms are empty");
      can_be_sent_again &= !output.room.empty();
    }
  }
  return can_be_sent_again;
}

Bytes encoded(BatchView batch) {
  Bytes area(1 << 20);
  const Result<std::size_t> used =
      ipc::encode_request(area, batch, shared().inputs, shared().outputs);
  require(used.has_value(), "what was decoded can be encoded");
  area.resize(*used);
  return area;
}

void run_request(std::span<const std::byte> bytes) {
  static ipc::DecodedBatch batch;  // used again, as a worker does
  if (!batch.decode(bytes, shared().inputs, shared().outputs)) return;
  if (!check_batch(batch.view())) return;
  const Bytes first = encoded(batch.view());
  ipc::DecodedBatch again;
  require(again.decode(first, shared().inputs, shared().outputs).has_value(),
          "what was encoded can be decoded");
  require(encoded(again.view()) == first, "a batch survives the way there and back");
}

// A batch of `samples` requests, whose outputs lie in the rooms one after the other.
struct Sent {
  Sent(std::size_t samples, std::size_t outputs) : rooms(samples * outputs) {
    constexpr std::size_t kRoomBytes = 24;
    for (std::size_t i = 0; i < rooms.size(); ++i) {
      rooms[i].room = std::span(shared().rooms).subspan(i * kRoomBytes, kRoomBytes);
    }
    for (std::size_t i = 0; i < samples; ++i) {
      batch.push_back({{}, std::span(rooms).subspan(i * outputs, outputs), 1});
    }
  }
  std::vector<OutputBuffer> rooms;
  std::vector<Sample> batch;
};

void check_outcome(const BatchOutcome& outcome) {
  const BatchTimes& times = outcome.times;
  require(times.exec_start <= times.compute_start && times.compute_start <= times.compute_end &&
              times.compute_end <= times.exec_end,
          "times go forwards");
  if (outcome.status) return;
  require(static_cast<int>(outcome.status.error().kind) < kErrorKindCount, "errors are known");
  for (const char c : outcome.status.error().message) {
    require(static_cast<unsigned char>(c) >= 0x20 && c != 0x7f, "messages hold no control codes");
  }
}

void run_reply(Input& input) {
  const std::size_t samples = 1 + input.take<std::uint8_t>() % 3;
  const std::size_t outputs = input.take<std::uint8_t>() % 4;
  Sent sent(samples, outputs);
  const Result<BatchOutcome> outcome = ipc::decode_reply(input.rest(), sent.batch);
  for (const OutputBuffer& room : sent.rooms) {
    require(room.bytes_used <= room.room.size(), "an output is no larger than its room");
    require(room.shape.size() <= ipc::kRankMax, "ranks are bounded");
    require(room.type <= DataType::bytes, "types are known");
  }
  if (!outcome) {
    require(outcome.error().kind == ErrorKind::corrupt_output, "a lie is a corrupt output");
    return;
  }
  check_outcome(*outcome);
  Bytes area(ipc::reply_bytes_max(samples, outputs));
  const Result<std::size_t> used = ipc::encode_reply(area, sent.batch, *outcome);
  require(used.has_value(), "a reply fits in the room that is said to be enough");
  Sent again(samples, outputs);
  const auto second = ipc::decode_reply(std::span(area).first(*used), again.batch);
  require(second.has_value(), "what was encoded can be decoded");
  require(second->status.has_value() == outcome->status.has_value(), "a failure stays one");
  require(second->times.exec_end == outcome->times.exec_end, "times survive");
  for (std::size_t i = 0; outcome->status && i < sent.rooms.size(); ++i) {
    require(again.rooms[i].type == sent.rooms[i].type &&
                again.rooms[i].shape == sent.rooms[i].shape &&
                again.rooms[i].bytes_used == sent.rooms[i].bytes_used,
            "outputs survive");
  }
}

void run(std::span<const std::byte> bytes) {
  Input input(bytes);
  const auto part = static_cast<Part>(input.take<std::uint8_t>() % static_cast<int>(Part::count));
  if (part == Part::request) return run_request(input.rest());
  run_reply(input);
}

Seed request_seed(const std::string& name, std::size_t images, std::size_t samples) {
  Shared& memory = shared();
  std::vector<InputData> inputs;
  ImageStack stack{.images = {}, .region = {1, 1, 2, 2}};
  for (std::size_t i = 0; i < images; ++i) {
    stack.images.push_back({reinterpret_cast<const std::uint8_t*>(memory.images.data() + 64 * i), 8,
                            4, 8, PixelFormat::gray8});
  }
  inputs.emplace_back(stack);
  inputs.emplace_back(TensorView{DataType::fp32, {1, 4}, std::span(memory.tensors).first(16)});
  std::array<OutputBuffer, 1> rooms{{{.room = std::span(memory.rooms).subspan(64, 32)}}};
  const std::vector<Sample> batch(samples, Sample{inputs, rooms, 1});
  return {name, Script().put(Part::request).put_bytes(encoded(batch)).bytes()};
}

Seed reply_seed(const std::string& name, std::uint8_t samples, std::uint8_t outputs,
                const BatchOutcome& outcome) {
  Sent sent(samples, outputs);
  for (OutputBuffer& room : sent.rooms) {
    room.shape = {1, 6};
    room.bytes_used = room.room.size();
  }
  Bytes area(ipc::reply_bytes_max(samples, outputs));
  area.resize(ipc::encode_reply(area, sent.batch, outcome).value());
  Script script;
  script.put(Part::reply).put(static_cast<std::uint8_t>(samples - 1)).put(outputs);
  return {name, script.put_bytes(area).bytes()};
}

std::vector<Seed> seeds() {
  BatchTimes times;
  times.compute_end = times.exec_end = TimePoint(Duration(1000));
  std::vector<Seed> seeds{request_seed("request-1", 1, 1), request_seed("request-3", 2, 3),
                          request_seed("request-images", ipc::kImagesMax, 1)};
  seeds.push_back(reply_seed("reply-1", 1, 1, {.status = {}, .times = times}));
  seeds.push_back(reply_seed("reply-3", 3, 2, {.status = {}, .times = times}));
  seeds.push_back(
      reply_seed("reply-failed", 1, 1,
                 {.status = fail(ErrorKind::out_of_memory, "no memory\n"), .times = times}));
  return seeds;
}

}  // namespace

Target batch_wire() {
  return {"batch_wire", &run, &seeds};
}

}  // namespace takt::fuzz
