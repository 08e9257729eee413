// SPDX-License-Identifier: Apache-2.0
#include "backend/cuda/device_tests/step_fixture.h"

#include "backend/cuda/stream.h"

#include <algorithm>
#include <cstdint>
#include <utility>

namespace takt::cuda {
namespace {

using Bytes = std::vector<std::byte>;

// Buffers on the device, filled.
class Buffers {
 public:
  Buffers(std::shared_ptr<const Context> context, const Stream& stream)
      : context_(std::move(context)), stream_(stream) {}

  Result<void> add(const Bytes& bytes) {
    auto memory = DeviceMemory::allocate(context_, std::max<std::size_t>(1, bytes.size()));
    if (!memory) return std::unexpected(std::move(memory).error());
    buffers_.push_back(*std::move(memory));
    return copy_to_device(buffers_.back().span(), bytes, stream_);
  }
  [[nodiscard]] DeviceSpan at(std::size_t index) const { return buffers_[index].span(); }

 private:
  std::shared_ptr<const Context> context_;
  const Stream& stream_;
  std::vector<DeviceMemory> buffers_;
};

// Of the views' first elements, and of the scratch memory, which is the last buffer.
std::vector<std::uint64_t> addresses_of(const Step& step, const KernelCall& call,
                                        const Buffers& buffers) {
  std::vector<std::uint64_t> addresses;
  for (const Operand& operand : call.operands) {
    const auto index = static_cast<std::size_t>(operand.index);
    if (operand.kind == OperandKind::scratch) {
      const std::size_t last = step.inputs.size() + step.outputs.size();
      addresses.push_back(buffers.at(last).address + operand.offset);
      continue;
    }
    const bool input = operand.kind == OperandKind::input;
    const View& view = input ? step.inputs[index] : step.outputs[index].view;
    const std::size_t buffer = input ? index : step.inputs.size() + index;
    addresses.push_back(buffers.at(buffer).address +
                        static_cast<std::size_t>(view.offset) * element_bytes(view.type));
  }
  return addresses;
}

}  // namespace

Result<Module> GpuSteps::compile(const std::vector<StepCode>& codes) const {
  std::string source = "#include \"takt_kernel.h\"\n";
  for (const StepCode& code : codes) {
    for (const KernelCall& call : code.calls) source += call.source.text;
  }
  const auto cubin = gpu_->nvrtc.compile(source, "steps.cu", gpu_->device.capability);
  if (!cubin) return std::unexpected(cubin.error());
  return Module::load(context_, *cubin);
}

Result<std::vector<Bytes>> GpuSteps::run(const Step& step, const StepCode& code,
                                         const Module& module,
                                         const std::vector<Bytes>& inputs) const {
  const Result<Stream> stream = Stream::create(context_);
  if (!stream) return std::unexpected(stream.error());
  Buffers buffers(context_, *stream);
  std::vector<Bytes> all = inputs;
  for (const StepOutput& output : step.outputs) {
    all.emplace_back(buffer_bytes(output.view), kUnwritten);
  }
  all.emplace_back(code.scratch_bytes, std::byte{0xff});
  for (const Bytes& bytes : all) {
    if (auto added = buffers.add(bytes); !added) return std::unexpected(added.error());
  }
  for (const KernelCall& call : code.calls) {
    const Result<Kernel> kernel = module.kernel(call.source.name);
    if (!kernel) return std::unexpected(kernel.error());
    const LaunchShape shape{
        {call.source.blocks, 1, 1}, {call.source.threads_x, call.source.threads_y, 1}, 0};
    const auto launched =
        kernel->launch_with_addresses(*stream, shape, addresses_of(step, call, buffers));
    if (!launched) return std::unexpected(launched.error());
  }
  std::vector<Bytes> outputs(all.begin() + static_cast<std::ptrdiff_t>(inputs.size()),
                             all.end() - 1);
  for (std::size_t i = 0; i < outputs.size(); ++i) {
    const auto copied = copy_to_host(outputs[i], buffers.at(inputs.size() + i), *stream);
    if (!copied) return std::unexpected(copied.error());
  }
  if (auto done = stream->synchronize(); !done) return std::unexpected(done.error());
  return outputs;
}

void GpuSteps::expect_as_reference(const std::vector<StepCase>& cases) {
  std::vector<StepCode> codes;
  for (const StepCase& one : cases) {
    Result<StepCode> code = code_of(one, "k" + std::to_string(codes.size()));
    ASSERT_TRUE(code) << one.name << ": " << code.error().message;
    codes.push_back(*std::move(code));
  }
  const Result<Module> module = compile(codes);
  TAKT_ASSERT_OK(module);
  for (std::size_t i = 0; i < cases.size(); ++i) {
    const Step& step = cases[i].step;
    const std::vector<Bytes> inputs = input_bytes(step, static_cast<unsigned>(i + 1));
    const auto outputs = run(step, codes[i], *module, inputs);
    ASSERT_TRUE(outputs) << cases[i].name << ": " << outputs.error().message;
    EXPECT_EQ(difference(step, inputs, *outputs), "") << cases[i].name;
  }
}

}  // namespace takt::cuda
