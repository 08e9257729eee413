// SPDX-License-Identifier: Apache-2.0
#include "gpu_whole.h"

#include "backend/cuda/compile/kernel_cache.h"
#include "backend/cuda/cuda_instance.h"

#include <algorithm>
#include <array>

namespace takt::cuda {
namespace {

void add_image_kernel(WholeModel& model, const ServedFile& file, KeptPieces& pieces) {
  const OpenedDevice& device = model.compiled->device();
  model.image = must(resolve_image_input(preprocess_of_images(), file.input));
  View input = model.compiled->programs().at(model.program).program.inputs.front();
  // What lies behind these channels is padding, which the kernel fills.
  input.shape[1] = file.input.shape.front();
  const KernelSource source = must(preprocess_kernel(*model.image, input, "preprocess"));
  KernelCache cache(device.context, pieces.store(), device.nvrtc ? &*device.nvrtc : nullptr);
  model.kernel = must(cache.kernel(source));
  model.shape = {{source.blocks, 1, 1}, {source.threads_x, source.threads_y, 1}, 0};
}

}  // namespace

WholeModel build_whole(const std::shared_ptr<const OpenedDevice>& device, const ServedFile& file,
                       const LoadSettings& settings, std::int64_t rows, InputKind kind,
                       KeptPieces& pieces) {
  const ModelOptions options = model_options(file, settings, {rows}, kind);
  WholeModel model;
  model.compiled = must(CompiledModel::build(device, file.onnx, options, pieces.store(), {}));
  model.program = options.batches.front();
  model.rows = rows;
  if (kind == InputKind::images) add_image_kernel(model, file, pieces);
  return model;
}

WholeGraph::WholeGraph(const WholeModel& model, const Feed& feed, const PinnedInputs& pinned)
    : model_(model), feed_(feed) {
  const auto& context = model.compiled->device().context;
  if (model.image) {
    const std::size_t bytes = static_cast<std::size_t>(model.rows) * sizeof(ImageDescriptor);
    table_ = must(PinnedMemory::allocate(context, bytes));
    device_table_ = must(DeviceMemory::allocate(context, bytes));
    for (const ImageStack& stack : feed.images) {
      const ImageView& view = stack.images.front();
      const auto address = pinned.address(std::as_bytes(std::span(view.pixels, view.byte_size())));
      if (!address) give_up("an image lies outside the memory that was pinned");
      addresses_.push_back(*address);
    }
    if (model.rows >= kRowsCopiedMin) {
      const std::size_t row = model.image->row_bytes;
      pixels_ = must(DeviceMemory::allocate(context, addresses_.size() * row));
      for (std::size_t i = 0; i < addresses_.size(); ++i) {
        addresses_[i] = pixels_->span().address + i * row;
      }
    }
    describe_images();
  }
  for (const std::size_t bytes : model.compiled->room_size().output_bytes) {
    outputs_.push_back(must(PinnedMemory::allocate(context, std::max<std::size_t>(1, bytes))));
  }
  execution_ = must(Execution::open(
      model.compiled,
      {[this](const Execution& execution, std::int64_t) { return queue_inputs(execution); },
       [this](const Execution& execution, std::int64_t) { return queue_outputs(execution); }}));
}

void WholeGraph::describe_images() const {
  if (!model_.image) return;
  auto* const table = reinterpret_cast<ImageDescriptor*>(table_->bytes().data());
  for (std::size_t row = 0; row < addresses_.size(); ++row) {
    must(describe(feed_.images[row], *model_.image, std::span(addresses_).subspan(row, 1),
                  std::span(table + row, 1)));
  }
}

Result<void> WholeGraph::queue_inputs(const Execution& execution) const {
  const DeviceSpan input = execution.room().input(0);
  if (!model_.image) return copy_to_device(input, feed_.tensor, execution.stream());
  if (Result<void> queued = queue_images(execution); !queued) return queued;
  Result<void> queued = copy_to_device(device_table_->span(), table_->bytes(), execution.stream());
  if (!queued) return queued;
  const std::array arguments{device_table_->span().address, input.address};
  return model_.kernel->launch_with_addresses(execution.stream(), model_.shape, arguments);
}

Result<void> WholeGraph::queue_images(const Execution& execution) const {
  if (!pixels_) return {};
  for (std::size_t i = 0; i < addresses_.size(); ++i) {
    const ImageView& view = feed_.images[i].images.front();
    const DeviceSpan to{addresses_[i], model_.image->row_bytes};
    const auto pixels = std::as_bytes(std::span(view.pixels, view.byte_size()));
    Result<void> queued = copy_to_device(to, pixels, execution.stream());
    if (!queued) return queued;
  }
  return {};
}

Result<void> WholeGraph::queue_outputs(const Execution& execution) const {
  const Program& program = model_.compiled->programs().at(model_.program).program;
  for (std::size_t i = 0; i < outputs_.size(); ++i) {
    DeviceSpan from = execution.room().output(i);
    from.bytes = program.buffers[static_cast<std::size_t>(program.outputs[i].buffer)].bytes;
    if (from.bytes == 0) continue;
    Result<void> queued = copy_to_host(outputs_[i].bytes(), from, execution.stream());
    if (!queued) return queued;
  }
  return {};
}

void WholeGraph::run() const {
  must(execution_->launch(model_.program));
  must(execution_->stream().synchronize());
}

std::unique_ptr<WholeLanes> open_whole(WholeModel model, const ServedFile& file, InputKind kind,
                                       int count) {
  auto lanes = std::make_unique<WholeLanes>();
  lanes->model = std::make_unique<WholeModel>(std::move(model));
  const std::int64_t rows = lanes->model->rows;
  lanes->pool = feed_pool(file, kind, count, rows);
  const std::array<std::span<const std::byte>, 1> memory{lanes->pool->memory()};
  lanes->pinned =
      must(HostMemory::of_process().pin(lanes->model->compiled->device().context, memory));
  lanes->feeds.reserve(static_cast<std::size_t>(count));
  for (int i = 0; i < count; ++i) {
    const Feed& feed = lanes->feeds.emplace_back(make_feed(*lanes->pool, file, kind, rows));
    lanes->graphs.push_back(std::make_unique<WholeGraph>(*lanes->model, feed, lanes->pinned));
  }
  return lanes;
}

}  // namespace takt::cuda
