// SPDX-License-Identifier: Apache-2.0
#include "engine/served_model.h"

#include "engine/output_slots.h"

#include <algorithm>

namespace takt::engine {
namespace {

constexpr std::size_t kOutputRowBytesMax = std::size_t{1} << 40;

Result<void> check_runtime(const ModelRuntime& runtime, const std::string& label) {
  const auto wrong = [&label](const std::string& what) {
    return fail(ErrorKind::invalid_input, label + ": " + what);
  };
  const Signature& signature = runtime.signature;
  if (runtime.name.empty()) return wrong("a model without a name");
  if (signature.batch_max < 0)
    return wrong("batch_max is " + std::to_string(signature.batch_max) + "; expected 0 or more");
  if (signature.inputs.empty() || signature.outputs.empty())
    return wrong("its signature needs at least one input and one output");
  if (runtime.instances.empty() ||
      std::ranges::any_of(runtime.instances, [](const auto& i) { return i == nullptr; }))
    return wrong("it needs at least one open instance, and none that is null");
  if (runtime.output_bytes_max.size() != signature.outputs.size())
    return wrong("output_bytes_max has " + std::to_string(runtime.output_bytes_max.size()) +
                 " entries for " + std::to_string(signature.outputs.size()) + " outputs");
  for (std::size_t i = 0; i < signature.outputs.size(); ++i) {
    if (runtime.output_bytes_max[i] == 0 || runtime.output_bytes_max[i] > kOutputRowBytesMax)
      return wrong("output '" + signature.outputs[i].name + "': room for " +
                   std::to_string(runtime.output_bytes_max[i]) +
                   " bytes a row; expected 1 byte to 1 TiB");
  }
  return {};
}

}  // namespace

Result<std::shared_ptr<const ServedModel>> ServedModel::create(ModelId id,
                                                               const ModelRuntime& runtime,
                                                               std::shared_ptr<Counters> counters,
                                                               std::shared_ptr<const Clock> clock) {
  const std::string label = runtime.name + " " + std::to_string(runtime.version);
  if (Result<void> checked = check_runtime(runtime, label); !checked)
    return std::unexpected(std::move(checked.error()));
  auto model = std::shared_ptr<ServedModel>(new ServedModel());
  model->counters_ = std::move(counters);
  model->info_ = {id, runtime.name, runtime.version, runtime.signature};
  model->label_ = label;
  model->output_row_bytes_ = runtime.output_bytes_max;
  const int rows_max = model->rows_max();
  model->statistics_ = std::make_unique<StatisticsRecorder>(rows_max, std::move(clock));
  model->p99_ns_ = std::vector<std::atomic<Duration::rep>>(static_cast<std::size_t>(rows_max));
  return model;
}

Result<ServedReplicaPtr> ServedModel::make_replica(DeviceId device, const ModelRuntime& runtime,
                                                   int results_held_max) const {
  if (Result<void> checked = check_runtime(runtime, label_); !checked)
    return std::unexpected(std::move(checked.error()));
  const bool same = runtime.name == info_.name && runtime.version == info_.version &&
                    runtime.signature == info_.signature &&
                    runtime.output_bytes_max == output_row_bytes_;
  if (!same) {
    return fail(ErrorKind::invalid_input,
                label_ + ": on device '" + runtime.device +
                    "' it is another model, or takes or gives something else there; load the same "
                    "version with the same backend and batch_max on all its devices");
  }
  auto replica = std::make_shared<ServedReplica>();
  replica->device = device;
  replica->info = {runtime.device, runtime.backend, runtime.profile, runtime.memory,
                   static_cast<int>(runtime.instances.size())};
  replica->batch_limit = rows_max();
  const std::vector<SizeClass> classes =
      output_classes(output_row_bytes_, rows_max(), runtime.instances.size(), results_held_max);
  Result<std::shared_ptr<SlotPool>> pool = SlotPool::create("takt outputs of " + label_, classes);
  if (!pool) return std::unexpected(std::move(pool.error()));
  replica->outputs = std::move(*pool);
  return replica;
}

void ServedModel::add(ServedReplicaPtr replica) const {
  const std::scoped_lock lock(mutex_);
  replicas_.push_back(std::move(replica));
}

std::vector<ServedReplicaPtr> ServedModel::replicas() const {
  const std::scoped_lock lock(mutex_);
  return replicas_;
}

int ServedModel::rows_max() const noexcept {
  return std::max(1, info_.signature.batch_max);
}

Result<Slot> ServedModel::acquire_outputs(SlotPool& pool, std::int64_t rows) const {
  return pool.acquire(output_bytes(output_row_bytes_, rows));
}

std::vector<OutputBuffer> ServedModel::lay_out(const Slot& slot, std::int64_t rows) const {
  std::vector<OutputBuffer> buffers(output_row_bytes_.size());
  std::size_t offset = 0;
  for (std::size_t i = 0; i < buffers.size(); ++i) {
    const std::size_t bytes = output_row_bytes_[i] * static_cast<std::size_t>(rows);
    buffers[i].room = slot.bytes().subspan(offset, bytes);
    buffers[i].type = info_.signature.outputs[i].type;
    offset += aligned_output(bytes);
  }
  return buffers;
}

Duration ServedModel::p99(int rows) const noexcept {
  if (rows < 1) return {};
  const auto index = std::min(static_cast<std::size_t>(rows), p99_ns_.size()) - 1;
  return Duration(p99_ns_[index].load(std::memory_order_relaxed));
}

void ServedModel::publish_p99(const std::function<Duration(int rows)>& p99) const {
  for (std::size_t i = 0; i < p99_ns_.size(); ++i)
    p99_ns_[i].store(p99(static_cast<int>(i) + 1).count(), std::memory_order_relaxed);
}

}  // namespace takt::engine
