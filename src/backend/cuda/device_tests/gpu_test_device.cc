// SPDX-License-Identifier: Apache-2.0
#include "backend/cuda/device_tests/gpu_fixture.h"
#include "backend/cuda/device_tests/test_device.h"
#include "backend/cuda/memory.h"
#include "backend/cuda/stream.h"

#include <algorithm>
#include <cstdint>
#include <string>
#include <utility>

namespace takt::cuda {
namespace {

class GpuTestDevice final : public TestDevice {
 public:
  GpuTestDevice(Gpu gpu, std::shared_ptr<const Context> context, Context::Scope scope)
      : gpu_(std::move(gpu)), context_(std::move(context)), scope_(std::move(scope)) {}

  Result<void> run(std::vector<StepRun>& runs) override {
    std::string source = "#include \"takt_kernel.h\"\n";
    for (const StepRun& one : runs) {
      for (const KernelCall& call : one.code.calls) source += call.source.text;
    }
    const auto code = gpu_.nvrtc.compile(source, "steps.cu", gpu_.device.capability);
    if (!code) return std::unexpected(code.error());
    const Result<Module> module = Module::load(context_, *code);
    if (!module) return std::unexpected(module.error());
    for (StepRun& one : runs) {
      if (Result<void> done = run_one(one, *module); !done) return done;
    }
    return {};
  }

 private:
  Result<void> run_one(StepRun& one, const Module& module) const {
    Result<Stream> stream = Stream::create(context_);
    if (!stream) return std::unexpected(std::move(stream).error());
    std::vector<DeviceMemory> memory;
    const auto allocate = [&](std::size_t bytes) -> Result<void> {
      auto allocated = DeviceMemory::allocate(context_, std::max<std::size_t>(bytes, 1));
      if (!allocated) return std::unexpected(std::move(allocated).error());
      memory.push_back(std::move(*allocated));
      return {};
    };
    for (const auto& buffer : one.buffers) {
      if (Result<void> done = allocate(buffer.size()); !done) return done;
      if (Result<void> done = copy_to_device(memory.back().span(), buffer, *stream); !done)
        return done;
    }
    if (Result<void> done = allocate(one.code.scratch_bytes); !done) return done;
    for (const KernelCall& call : one.code.calls) {
      const KernelSource& source = call.source;
      const Result<Kernel> kernel = module.kernel(source.name);
      if (!kernel) return std::unexpected(kernel.error());
      const LaunchShape shape{{source.blocks, 1, 1}, {source.threads_x, source.threads_y, 1}, 0};
      const auto launched =
          kernel->launch_with_addresses(*stream, shape, addresses(one.step, call, memory));
      if (!launched) return launched;
    }
    for (std::size_t i = 0; i < one.buffers.size(); ++i) {
      const auto copied = copy_to_host(one.buffers[i], memory[i].span(), *stream);
      if (!copied) return copied;
    }
    return stream->synchronize();
  }

  // The scratch memory is the last.
  static std::vector<std::uint64_t> addresses(const Step& step, const KernelCall& call,
                                              const std::vector<DeviceMemory>& memory) {
    std::vector<std::uint64_t> addresses;
    for (const Operand& operand : call.operands) {
      const auto index = static_cast<std::size_t>(operand.index);
      if (operand.kind == OperandKind::scratch) {
        addresses.push_back(memory.back().span().address + operand.offset);
        continue;
      }
      const bool read = operand.kind == OperandKind::input;
      const View& view = read ? step.inputs[index] : step.outputs[index].view;
      const std::size_t buffer = read ? index : step.inputs.size() + index;
      addresses.push_back(memory[buffer].span().address +
                          static_cast<std::size_t>(view.offset) * element_bytes(view.type));
    }
    return addresses;
  }

  Gpu gpu_;
  std::shared_ptr<const Context> context_;
  Context::Scope scope_;  // destroyed before the context
};

}  // namespace

Result<std::unique_ptr<TestDevice>> open_test_device() {
  Result<Gpu> gpu = find_gpu();
  if (!gpu) return std::unexpected(std::move(gpu).error());
  auto context = Context::create(gpu->driver, gpu->device, nullptr);
  if (!context) return std::unexpected(std::move(context).error());
  Result<Context::Scope> scope = (*context)->enter();
  if (!scope) return std::unexpected(std::move(scope).error());
  return std::make_unique<GpuTestDevice>(*std::move(gpu), *std::move(context), *std::move(scope));
}

}  // namespace takt::cuda
