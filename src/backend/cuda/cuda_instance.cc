// SPDX-License-Identifier: Apache-2.0
#include "backend/cuda/cuda_instance.h"

#include "backend/batch_check.h"
#include "core/spin.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <exception>
#include <new>
#include <string>
#include <utility>

namespace takt::cuda {
namespace {

std::size_t rows_max(const CudaModel& model) {
  return static_cast<std::size_t>(std::max(1, model.rules.signature.batch_max));
}

std::size_t table_bytes(const CudaModel& model, std::size_t input) {
  const auto images = static_cast<std::size_t>(model.rules.images[input]->image_count);
  return rows_max(model) * images * sizeof(ImageDescriptor);
}

// For copies of the images of the largest batch; 0: they are never copied.
std::size_t copied_bytes(const CudaModel& model, std::size_t input) {
  const std::size_t rows = rows_max(model);
  return std::cmp_less(rows, kRowsCopiedMin) ? 0 : rows * model.rules.images[input]->row_bytes;
}

// From the first pixel to the last; behind that the last row may end.
std::span<const std::byte> bytes_of(const ImageView& view) {
  const auto row = static_cast<std::size_t>(view.width * channel_count(view.format));
  const auto stride = static_cast<std::size_t>(view.stride_bytes);
  return std::as_bytes(
      std::span(view.pixels, stride * static_cast<std::size_t>(view.height - 1) + row));
}

// The instance's thread must not throw.
template <typename Work>
Result<void> by_value(const Work& work) try {
  return work();
} catch (const std::bad_alloc&) {
  return fail(ErrorKind::out_of_memory, "the host's memory doesn't suffice to run a batch");
} catch (const std::exception& error) {
  return fail(ErrorKind::internal, std::string("running a batch: ") + error.what());
}

}  // namespace

std::size_t CudaInstance::device_bytes(const CudaModel& model) {
  std::size_t bytes = model.compiled->room_size().bytes();
  for (std::size_t i = 0; i < model.rules.images.size(); ++i) {
    if (model.rules.images[i]) bytes += table_bytes(model, i) + copied_bytes(model, i);
  }
  return bytes;
}

Result<std::unique_ptr<Instance>> CudaInstance::open(std::shared_ptr<const CudaModel> model,
                                                     int lane) try {
  Result<Event> done = Event::create(model->compiled->device().context, EventUse::waiting);
  if (!done) return std::unexpected(std::move(done).error().within("opening an instance"));
  std::unique_ptr<CudaInstance> made(new CudaInstance(std::move(model), *std::move(done)));
  if (Result<void> prepared = made->prepare(); !prepared) {
    return std::unexpected(std::move(prepared).error().within("opening an instance"));
  }
  Result<std::unique_ptr<BatchThread>> thread = BatchThread::create(
      "takt-infer-" + std::to_string(lane), cpus_of_instance(made->model_->options, lane),
      made->model_->options.spin,
      [self = made.get()](BatchView batch) { return self->run_checked(batch); });
  if (!thread) return std::unexpected(std::move(thread).error());
  made->thread_ = *std::move(thread);
  return made;
} catch (const std::bad_alloc&) {
  return fail(ErrorKind::out_of_memory, "opening an instance: the host's memory doesn't suffice");
} catch (const std::exception& error) {
  return fail(ErrorKind::internal, std::string("opening an instance: ") + error.what());
}

Result<void> CudaInstance::prepare() {
  const auto& context = model_->compiled->device().context;
  for (std::size_t i = 0; i < model_->rules.images.size(); ++i) {
    images_.emplace_back();
    if (!model_->rules.images[i]) continue;
    Result<PinnedMemory> table = PinnedMemory::allocate(context, table_bytes(*model_, i));
    if (!table) return std::unexpected(std::move(table).error());
    Result<DeviceMemory> on_device = DeviceMemory::allocate(context, table_bytes(*model_, i));
    if (!on_device) return std::unexpected(std::move(on_device).error());
    Result<PinnedMemory> pixels =
        PinnedMemory::allocate(context, model_->rules.images[i]->row_bytes * rows_max(*model_));
    if (!pixels) return std::unexpected(std::move(pixels).error());
    std::ranges::fill(table->bytes(), std::byte{0});  // no images
    ImageStaging& staging =
        images_.back().emplace(*std::move(table), *std::move(on_device), *std::move(pixels));
    if (copied_bytes(*model_, i) == 0) continue;
    Result<DeviceMemory> copies = DeviceMemory::allocate(context, copied_bytes(*model_, i));
    if (!copies) return std::unexpected(std::move(copies).error());
    staging.device_pixels.emplace(*std::move(copies));
  }
  for (const std::size_t bytes : model_->compiled->room_size().output_bytes) {
    Result<PinnedMemory> output = PinnedMemory::allocate(context, std::max<std::size_t>(1, bytes));
    if (!output) return std::unexpected(std::move(output).error());
    outputs_.push_back(*std::move(output));
  }
  const auto around = Execution::Around{[this](const Execution& execution, std::int64_t batch) {
                                          return queue_images(execution, batch);
                                        },
                                        [this](const Execution& execution, std::int64_t batch) {
                                          return queue_outputs(execution, batch);
                                        }};
  Result<Execution> execution = Execution::open(model_->compiled, around);
  if (!execution) return std::unexpected(std::move(execution).error());
  execution_.emplace(*std::move(execution));
  return {};
}

// Recorded before the model: the table of the batch's images, and the kernels that make inputs of them.
Result<void> CudaInstance::queue_images(const Execution& execution, std::int64_t batch) const {
  const auto kernels = model_->images.find(batch);
  if (kernels == model_->images.end()) return {};
  for (std::size_t i = 0; i < images_.size(); ++i) {
    const std::optional<ImageKernel>& kernel = kernels->second[i];
    if (!kernel) continue;
    const ImageStaging& staging = *images_[i];
    const std::size_t row = table_bytes(*model_, i) / rows_max(*model_);
    const std::size_t bytes = row * static_cast<std::size_t>(std::max<std::int64_t>(1, batch));
    Result<void> queued = copy_to_device(staging.device_table.span(),
                                         staging.table.bytes().first(bytes), execution.stream());
    if (queued) {
      const std::array<std::uint64_t, 2> arguments{staging.device_table.span().address,
                                                   execution.room().input(i).address};
      queued = kernel->kernel.launch_with_addresses(execution.stream(), kernel->shape, arguments);
    }
    if (!queued) return queued;
  }
  return {};
}

Result<void> CudaInstance::queue_outputs(const Execution& execution, std::int64_t batch) const {
  const Program& program = model_->compiled->programs().at(batch).program;
  for (std::size_t i = 0; i < outputs_.size(); ++i) {
    DeviceSpan from = execution.room().output(i);
    from.bytes = program.buffers[static_cast<std::size_t>(program.outputs[i].buffer)].bytes;
    if (from.bytes == 0) continue;
    Result<void> queued = copy_to_host(outputs_[i].bytes(), from, execution.stream());
    if (!queued) return queued;
  }
  return {};
}

Result<void> CudaInstance::submit(BatchView batch, BatchCompletion done) {
  if (const Result<std::int64_t> rows = check_batch(model_->rules, batch); !rows) {
    return std::unexpected(rows.error());
  }
  return thread_->start(batch, std::move(done));
}

BatchOutcome CudaInstance::run(BatchView batch) {
  if (const Result<std::int64_t> rows = check_batch(model_->rules, batch); !rows) {
    return {.status = std::unexpected(rows.error()), .times = {}};
  }
  return run_checked(batch);
}

BatchOutcome CudaInstance::run_checked(BatchView batch) {
  const SystemClock clock;
  BatchOutcome outcome;
  BatchTimes& times = outcome.times;
  times.exec_start = times.compute_start = times.compute_end = clock.now();
  outcome.status = by_value([&] { return run_in_context(batch, times); });
  times.exec_end = clock.now();
  return outcome;
}

Result<void> CudaInstance::run_in_context(BatchView batch, BatchTimes& times) {
  const SystemClock clock;
  const Result<Context::Scope> scope = model_->compiled->device().context->enter();
  if (!scope) return std::unexpected(scope.error());
  Result<void> queued = by_value([&] { return queue_batch(batch); });
  times.compute_start = clock.now();
  // What was queued before something failed reads the batch too.
  const Result<void> waited = queued ? wait() : execution_->stream().synchronize();
  times.compute_end = clock.now();
  if (!queued) return queued;
  if (waited) scatter(batch);
  return waited;
}

Result<void> CudaInstance::queue_batch(BatchView batch) {
  std::int64_t rows = 0;
  for (const Sample& sample : batch) rows += sample.rows;
  const bool batched = model_->rules.signature.batch_max > 0;
  const std::int64_t program =
      batched ? model_->compiled->programs().lower_bound(rows)->first : std::int64_t{0};
  Result<void> done = gather(batch, rows, program);
  if (done) done = execution_->launch(program);
  if (done) done = done_.record(execution_->stream());
  return done;
}

Result<void> CudaInstance::gather(BatchView batch, std::int64_t rows, std::int64_t program) {
  for (std::size_t i = 0; i < images_.size(); ++i) {
    Result<void> gathered =
        images_[i] ? gather_images(i, batch, rows, program) : gather_tensor(i, batch);
    if (!gathered) {
      return std::unexpected(std::move(gathered).error().within(
          "input '" + model_->rules.signature.inputs[i].name + "'"));
    }
  }
  return {};
}

Result<void> CudaInstance::gather_tensor(std::size_t input, BatchView batch) const {
  DeviceSpan to = execution_->room().input(input);
  for (const Sample& sample : batch) {
    const auto& tensor = std::get<TensorView>(sample.inputs[input]);
    Result<void> copied = copy_to_device(to, tensor.bytes, execution_->stream());
    if (!copied) return copied;
    to.address += tensor.bytes.size();
    to.bytes -= tensor.bytes.size();
  }
  return {};
}

Result<void> CudaInstance::gather_images(std::size_t input, BatchView batch, std::int64_t rows,
                                         std::int64_t program) {
  std::int64_t row = 0;
  for (const Sample& sample : batch) {
    Result<void> described = describe_stack(input, std::get<ImageStack>(sample.inputs[input]),
                                            row++, program >= kRowsCopiedMin);
    if (!described) return described;
  }
  // Rows that only fill the batch up have no image.
  const std::size_t row_bytes = table_bytes(*model_, input) / rows_max(*model_);
  const auto filled = static_cast<std::size_t>(std::max(rows, program) - rows) * row_bytes;
  std::ranges::fill(
      images_[input]->table.bytes().subspan(static_cast<std::size_t>(rows) * row_bytes, filled),
      std::byte{0});
  return {};
}

// The device reads the pixels where they are, where they are copied to, or where this thread has staged them.
Result<void> CudaInstance::describe_stack(std::size_t input, const ImageStack& stack,
                                          std::int64_t row, bool copied) {
  const ImageInput& image = *model_->rules.images[input];
  ImageStaging& staging = *images_[input];
  const auto count = static_cast<std::size_t>(image.image_count);
  const auto at = static_cast<std::size_t>(row);
  const std::span<ImageDescriptor> table{
      reinterpret_cast<ImageDescriptor*>(staging.table.bytes().data()) + at * count, count};
  std::vector<std::uint64_t> addresses;
  for (const ImageView& view : stack.images) {
    if (const auto address = model_->pinned.address(bytes_of(view))) addresses.push_back(*address);
  }
  if (addresses.size() == count) {
    if (copied) {
      DeviceSpan to = staging.device_pixels->span();
      to.address += at * image.row_bytes;
      to.bytes = image.row_bytes;
      if (Result<void> done = copy_pixels(image, stack, to, addresses); !done) return done;
    }
    return describe(stack, image, addresses, table);
  }

  // Each image by itself, as large as the model sees it.
  ImageInput one = image;
  one.image_count = 1;
  one.staged.channels = channel_count(image.preprocess.color);
  one.row_bytes = image.row_bytes / count;
  ImageStack staged;
  addresses.clear();
  for (std::size_t i = 0; i < count; ++i) {
    const std::size_t begin = at * image.row_bytes + i * one.row_bytes;
    const std::span<std::uint8_t> pixels{
        reinterpret_cast<std::uint8_t*>(staging.pixels.bytes().data()) + begin, one.row_bytes};
    Result<void> done = stage_stack({{stack.images[i]}, stack.region}, one, resampler_, pixels);
    if (!done) return done;
    staged.images.push_back({.pixels = pixels.data(),
                             .width = one.staged.width,
                             .height = one.staged.height,
                             .stride_bytes = one.staged.width * one.staged.channels,
                             .format = image.preprocess.color});
    addresses.push_back(staging.pixels.span().address + begin);
  }
  return describe(staged, image, addresses, table);
}

// An image that is larger than the model's stays where it is: its copy would have no room.
Result<void> CudaInstance::copy_pixels(const ImageInput& image, const ImageStack& stack,
                                       DeviceSpan row, std::span<std::uint64_t> addresses) const {
  const std::size_t room = image.row_bytes / addresses.size();
  for (std::size_t i = 0; i < addresses.size(); ++i) {
    const std::span<const std::byte> pixels = bytes_of(stack.images[i]);
    if (pixels.size() > room) continue;
    const DeviceSpan to{row.address + i * room, room};
    if (Result<void> done = copy_to_device(to, pixels, execution_->stream()); !done) return done;
    addresses[i] = to.address;
  }
  return {};
}

// Looks for a while before it sleeps.
Result<void> CudaInstance::wait() const {
  const SystemClock clock;
  const TimePoint end = clock.now() + model_->options.spin;
  for (;;) {
    const Result<bool> reached = done_.reached();
    if (!reached) return std::unexpected(reached.error());
    if (*reached) return {};
    if (clock.now() >= end) return done_.synchronize();
    pause_cpu();
  }
}

void CudaInstance::scatter(BatchView batch) const {
  const Signature& signature = model_->rules.signature;
  for (std::size_t i = 0; i < outputs_.size(); ++i) {
    const TensorSpec& spec = signature.outputs[i];
    std::span<const std::byte> from = outputs_[i].bytes();
    for (const Sample& sample : batch) {
      OutputBuffer& buffer = sample.outputs[i];
      buffer.type = spec.type;
      buffer.shape = spec.shape;
      if (signature.batch_max > 0) buffer.shape.insert(buffer.shape.begin(), sample.rows);
      buffer.bytes_used =
          *model_->rules.output_row_bytes[i] * static_cast<std::size_t>(sample.rows);
      std::memcpy(buffer.room.data(), from.data(), buffer.bytes_used);
      from = from.subspan(buffer.bytes_used);
    }
  }
}

}  // namespace takt::cuda
