// SPDX-License-Identifier: Apache-2.0
// One inference as a client asked for it, and its answer: the Open Inference Protocol's request and
// response, whatever they came as.
// Thread-safe: plain values, handed from thread to thread.
// Owns: names and slots; the bytes of inputs lie in the call's slots, those of outputs in the answer's.
#pragma once

#include "core/tensor.h"
#include "core/time.h"
#include "engine/inference_client.h"
#include "memory/slot_pool.h"
#include "server/api_error.h"

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace takt::server {

// A part of a shared-memory region that the client has registered.
struct SharedPlace {
  std::string region;
  std::size_t offset = 0;  // from the region's beginning
  std::size_t bytes = 0;
};

// Gives memory for inputs of a call, 64-byte aligned: InferService::room.
using RoomSource = std::function<ApiResult<Slot>(std::size_t bytes)>;

struct CallInput {
  std::string name;
  DataType type = DataType::fp32;
  Shape shape;  // with the batch dimension
  // Row-major, little-endian; strings as in the protocol's binary form (core/string_tensor.h). In a
  // slot of the call, 64-byte aligned. Empty where `shared` is set.
  std::span<const std::byte> bytes;
  std::optional<SharedPlace> shared;
};

struct CallOutput {
  std::string name;
  int classes = 0;  // above 0: the labels of so many largest values in place of the tensor
  std::optional<SharedPlace> shared;
  bool binary = false;  // HTTP: behind the JSON in place of in it
};

struct InferCall {
  std::string model;
  std::string version;           // empty: the newest that serves
  std::string id;                // comes back with the answer
  std::uint64_t priority = 0;    // of the schedule policy extension; 0: the default
  std::uint64_t timeout_us = 0;  // 0: none
  TimePoint deadline = kNever;   // of the transport, such as grpc-timeout
  bool sequence = false;         // asks for a sequence, which takt doesn't have
  bool binary_outputs = false;   // HTTP: binary_data_output
  bool raw = false;              // HTTP: of the only input the bytes alone, see InferService
  bool more_come = false;        // as InferRequest
  std::vector<CallInput> inputs;
  std::vector<CallOutput> outputs;  // empty: all of the model's
  std::vector<Slot> slots;          // that the inputs lie in
};

struct AnswerOutput {
  std::string name;
  DataType type = DataType::fp32;  // bytes for classes
  Shape shape;
  std::span<const std::byte> bytes;   // in the answer's slot or in `made`
  std::vector<std::byte> made;        // classes: what was made from the slot
  std::optional<SharedPlace> shared;  // written there already; `bytes` is empty then
  bool binary = false;
};

struct InferAnswer {
  std::string model;
  std::string version;
  std::string id;
  std::vector<AnswerOutput> outputs;  // as asked for, or in the order of the signature
  Slot hold;                          // until the answer has been written
  InferTimings timings;
};

}  // namespace takt::server
