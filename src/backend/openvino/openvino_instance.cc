// SPDX-License-Identifier: Apache-2.0
#include "backend/openvino/openvino_instance.h"

#include "backend/openvino/ov_types.h"

#include <algorithm>
#include <cstring>
#include <string>
#include <utility>

namespace takt::ov_backend {
namespace {

// OpenVINO's tensors over foreign memory take a mutable pointer; inputs are only read.
void* as_mutable(const void* memory) noexcept {
  return const_cast<void*>(memory);
}

ov::Shape ov_shape(const Shape& shape) {
  return {shape.begin(), shape.end()};
}

// Where the rows of a request begin in the batch, in the order of the batch.
template <typename Body>
Result<void> for_each_sample(BatchView batch, Body body) {
  std::int64_t row = 0;
  for (const Sample& sample : batch) {
    if (Result<void> done = body(sample, row); !done) return done;
    row += sample.rows;
  }
  return {};
}

// A thread that looked for work would take a core from those that compute.
constexpr Duration kNoSpin{};

// Below, copying is cheaper than telling OpenVINO of other memory.
constexpr std::size_t kCopiedBytesMax = 16384;

bool is_known(const std::optional<std::size_t>& bytes) {
  return bytes.has_value();
}
bool is_small(const std::optional<std::size_t>& bytes) {
  return bytes && *bytes <= kCopiedBytesMax;
}

// With all shapes known and one request, the model writes straight into the request's room.
bool writes_in_place(const BatchRules& rules, BatchView batch) {
  return batch.size() == 1 && batch.front().rows == 1 &&
         std::ranges::all_of(rules.output_row_bytes, &is_known) &&
         !std::ranges::all_of(rules.output_row_bytes, &is_small);
}

void place_outputs(ov::InferRequest& request, const BatchRules& rules, const Sample& sample) {
  for (std::size_t i = 0; i < sample.outputs.size(); ++i) {
    const TensorSpec& spec = rules.signature.outputs[i];
    OutputBuffer& buffer = sample.outputs[i];
    buffer.type = spec.type;
    buffer.shape = spec.shape;
    if (rules.signature.batch_max > 0) buffer.shape.insert(buffer.shape.begin(), 1);
    buffer.bytes_used = *rules.output_row_bytes[i];
    request.set_output_tensor(
        i, ov::Tensor(to_ov(spec.type), ov_shape(buffer.shape), buffer.room.data()));
  }
}

Result<void> scatter_output(const ov::Tensor& tensor, std::size_t index, const BatchRules& rules,
                            BatchView batch, std::int64_t rows) {
  const TensorSpec& spec = rules.signature.outputs[index];
  const bool batched = rules.signature.batch_max > 0;
  const ov::Shape& whole = tensor.get_shape();
  if (batched && (whole.empty() || std::cmp_not_equal(whole.front(), rows))) {
    return fail(ErrorKind::corrupt_output,
                "output '" + spec.name + "' has shape " + tensor.get_shape().to_string() +
                    " for a batch of " + std::to_string(rows) +
                    "; the model mixes its rows: set max_batch_size: 1 or 0");
  }
  const std::size_t row_bytes = tensor.get_byte_size() / static_cast<std::size_t>(rows);
  const auto* bytes = static_cast<const std::byte*>(std::as_const(tensor).data());
  return for_each_sample(batch, [&](const Sample& sample, std::int64_t row) -> Result<void> {
    OutputBuffer& buffer = sample.outputs[index];
    const std::size_t need = row_bytes * static_cast<std::size_t>(sample.rows);
    if (need > buffer.room.size()) {
      return fail(ErrorKind::corrupt_output,
                  "output '" + spec.name + "' needs " + std::to_string(need) +
                      " bytes, the room has " + std::to_string(buffer.room.size()) +
                      "; raise the parameter output_bytes_max in config.pbtxt");
    }
    buffer.type = spec.type;
    buffer.shape.assign(whole.begin(), whole.end());
    if (batched) buffer.shape.front() = sample.rows;
    buffer.bytes_used = need;
    if (need > 0) {
      std::memcpy(buffer.room.data(), bytes + row_bytes * static_cast<std::size_t>(row), need);
    }
    return {};
  });
}

}  // namespace

OpenVinoInstance::OpenVinoInstance(CompiledVariants variants,
                                   std::shared_ptr<const Compilations> all,
                                   std::shared_ptr<const BatchRules> rules)
    : rules_(std::move(rules)),
      variants_(std::move(variants)),
      all_(std::move(all)),
      staging_(rules_->signature.inputs.size()) {}

Result<std::unique_ptr<Instance>> OpenVinoInstance::open(CompiledVariants variants,
                                                         std::shared_ptr<const Compilations> all,
                                                         std::shared_ptr<const BatchRules> rules,
                                                         std::span<const int> cpus, int lane) {
  std::unique_ptr<OpenVinoInstance> made(
      new OpenVinoInstance(std::move(variants), std::move(all), std::move(rules)));
  const auto requests = [&]() -> Result<void> {
    // create_infer_request is a non-const member of a handle that is shared by value.
    ov::CompiledModel single = made->variants_.single;
    const std::size_t inputs = made->rules_->signature.inputs.size();
    made->single_ = {single.create_infer_request(), std::vector<Runner::Input>(inputs), {}};
    made->keep_outputs(made->single_);
    if (std::optional<ov::CompiledModel> batched = made->variants_.batched) {
      made->batched_ = {batched->create_infer_request(), std::vector<Runner::Input>(inputs), {}};
    }
    return {};
  };
  if (Result<void> ready = guarded(ErrorKind::internal, requests); !ready) {
    return std::unexpected(std::move(ready).error().within("opening an instance"));
  }
  Result<std::unique_ptr<BatchThread>> thread = BatchThread::create(
      "takt-infer-" + std::to_string(lane), cpus, kNoSpin,
      [self = made.get()](BatchView batch) { return self->run_checked(batch); });
  if (!thread) return std::unexpected(std::move(thread).error());
  made->thread_ = *std::move(thread);
  return made;
}

Result<void> OpenVinoInstance::submit(BatchView batch, BatchCompletion done) {
  if (const Result<std::int64_t> rows = check_batch(*rules_, batch); !rows) {
    return std::unexpected(rows.error());
  }
  return thread_->start(batch, std::move(done));
}

BatchOutcome OpenVinoInstance::run(BatchView batch) {
  if (const Result<std::int64_t> rows = check_batch(*rules_, batch); !rows) {
    return {.status = std::unexpected(rows.error()), .times = {}};
  }
  return run_checked(batch);
}

BatchOutcome OpenVinoInstance::run_checked(BatchView batch) {
  const SystemClock clock;
  BatchOutcome outcome;
  BatchTimes& times = outcome.times;
  times.exec_start = times.compute_start = times.compute_end = clock.now();
  const BatchRules& rules = *rules_;
  outcome.status = guarded(ErrorKind::internal, [&]() -> Result<void> {
    std::int64_t rows = 0;
    for (const Sample& sample : batch) rows += sample.rows;
    Runner& runner = rows > 1 && batched_ ? *batched_ : single_;
    ov::InferRequest& request = runner.request;
    if (Result<void> gathered = gather(runner, batch, rows); !gathered) return gathered;
    const bool in_place = writes_in_place(rules, batch);
    if (in_place) place_outputs(request, rules, batch.front());
    times.compute_start = times.compute_end = clock.now();
    // Synchronous; on this thread where the model was compiled without streams.
    request.infer();
    times.compute_end = clock.now();
    for (std::size_t i = 0; !in_place && i < rules.signature.outputs.size(); ++i) {
      const ov::Tensor tensor =
          runner.outputs.empty() ? request.get_output_tensor(i) : runner.outputs[i];
      if (Result<void> done = scatter_output(tensor, i, rules, batch, rows); !done) return done;
    }
    return {};
  });
  if (!outcome.status && outcome.status.error().kind == ErrorKind::out_of_memory) free_caches();
  times.exec_end = clock.now();
  return outcome;
}

// After a batch that ran out of memory: the smaller one that follows must not want for what the
// larger one left behind.
void OpenVinoInstance::free_caches() {
  for (ov::Tensor& memory : staging_) memory = {};
  // A failure to free is no failure of the batch, which has failed already.
  static_cast<void>(guarded(ErrorKind::internal, [this]() -> Result<void> {
    if (batched_) {
      for (std::size_t i = 0; i < batched_->inputs.size(); ++i) {
        const Runner::Input large = std::exchange(batched_->inputs[i], {});
        if (!large.bound) continue;
        // The request would keep its memory until it is told of another.
        ov::Shape row = large.own.get_shape();
        row.front() = 1;
        batched_->request.set_input_tensor(i, ov::Tensor(large.own.get_element_type(), row));
      }
    }
    all_->release_memory();
    return {};
  }));
}

// Where no output varies in size and all are small, they are copied from where the model leaves them.
void OpenVinoInstance::keep_outputs(Runner& runner) const {
  if (!std::ranges::all_of(rules_->output_row_bytes, &is_small)) return;
  for (std::size_t i = 0; i < rules_->signature.outputs.size(); ++i) {
    runner.outputs.push_back(runner.request.get_output_tensor(i));
  }
}

Result<void> OpenVinoInstance::gather(Runner& runner, BatchView batch, std::int64_t rows) {
  for (std::size_t i = 0; i < rules_->signature.inputs.size(); ++i) {
    Result<void> gathered;
    if (!rules_->images[i]) {
      gathered = gather_tensors(runner, i, batch, rows);
    } else if (Result<ov::Tensor> images = gather_images(i, batch, rows); images) {
      runner.request.set_input_tensor(i, *images);
    } else {
      gathered = std::unexpected(std::move(images).error());
    }
    if (!gathered) {
      return std::unexpected(
          std::move(gathered).error().within("input '" + rules_->signature.inputs[i].name + "'"));
    }
  }
  return {};
}

Result<ov::Tensor> OpenVinoInstance::gather_images(std::size_t input, BatchView batch,
                                                   std::int64_t rows) {
  const ImageInput& image = *rules_->images[input];
  const InputGeometry& size = image.staged;
  ov::Shape shape;
  for (const int dim : {size.channels_last ? size.height : size.channels,
                        size.channels_last ? size.width : size.height,
                        size.channels_last ? size.channels : size.width}) {
    shape.push_back(static_cast<std::size_t>(dim));
  }
  const bool leading_one = rules_->signature.inputs[input].shape.size() == 4;
  if (rules_->signature.batch_max > 0 || leading_one) {
    shape.insert(shape.begin(), static_cast<std::size_t>(rows));
  }
  if (batch.size() == 1) {
    const auto& stack = std::get<ImageStack>(batch.front().inputs[input]);
    if (const std::uint8_t* pixels = staged_in_place(stack, image)) {
      return ov::Tensor(ov::element::u8, shape, as_mutable(pixels));
    }
  }
  const std::span<std::uint8_t> bytes =
      staging(input, image.row_bytes * static_cast<std::size_t>(rows));
  Result<void> staged =
      for_each_sample(batch, [&](const Sample& sample, std::int64_t row) -> Result<void> {
        return stage_stack(
            std::get<ImageStack>(sample.inputs[input]), image, resampler_,
            bytes.subspan(image.row_bytes * static_cast<std::size_t>(row), image.row_bytes));
      });
  if (!staged) return std::unexpected(std::move(staged).error());
  return ov::Tensor(ov::element::u8, shape, bytes.data());
}

Result<void> OpenVinoInstance::gather_tensors(Runner& runner, std::size_t input, BatchView batch,
                                              std::int64_t rows) const {
  const auto& first = std::get<TensorView>(batch.front().inputs[input]);
  const ov::element::Type type = to_ov(first.type);
  Shape shape = first.shape;
  Runner::Input& kept = runner.inputs[input];
  if (batch.size() == 1 && first.bytes.size() > kCopiedBytesMax) {
    const auto address = reinterpret_cast<std::uintptr_t>(first.bytes.data());
    if (address % element_bytes(first.type) == 0) {
      kept.bound = false;
      runner.request.set_input_tensor(
          input, ov::Tensor(type, ov_shape(shape), as_mutable(first.bytes.data())));
      return {};
    }
  }
  for (const Sample& sample : batch.subspan(1)) {
    const auto& tensor = std::get<TensorView>(sample.inputs[input]);
    if (std::ranges::equal(tensor.shape.begin() + 1, tensor.shape.end(), shape.begin() + 1,
                           shape.end())) {
      continue;
    }
    return fail(ErrorKind::invalid_input, "the requests of a batch differ in shape: " +
                                              to_string(shape) + " and " + to_string(tensor.shape));
  }
  if (rules_->signature.batch_max > 0) shape.front() = rows;
  const ov::Shape whole = ov_shape(shape);
  if (!kept.own) {
    kept.own = ov::Tensor(type, whole);
  } else if (kept.own.get_shape() != whole) {
    // Where growing fails, what is left of it is not kept.
    Runner::Input grown = std::exchange(kept, {});
    grown.own.set_shape(whole);
    kept = std::move(grown);
  }
  auto* into = static_cast<std::byte*>(kept.own.data());
  for (const Sample& sample : batch) {
    const auto& tensor = std::get<TensorView>(sample.inputs[input]);
    if (!tensor.bytes.empty()) std::memcpy(into, tensor.bytes.data(), tensor.bytes.size());
    into += tensor.bytes.size();
  }
  if (!kept.bound) runner.request.set_input_tensor(input, kept.own);
  kept.bound = true;
  return {};
}

std::span<std::uint8_t> OpenVinoInstance::staging(std::size_t input, std::size_t bytes) {
  ov::Tensor& memory = staging_[input];
  // ov::Tensor rather than a vector: its memory is aligned for the device's vector loads.
  if (!memory || memory.get_byte_size() < bytes) {
    memory = ov::Tensor(ov::element::u8, ov::Shape{bytes});
  }
  return {memory.data<std::uint8_t>(), bytes};
}

}  // namespace takt::ov_backend
