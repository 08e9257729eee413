// SPDX-License-Identifier: Apache-2.0
#include "backend/cuda/emulation/emulated_steps.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

namespace takt::cuda::emulation {
namespace {

using Bytes = EmulatedSteps::Bytes;

// Text of one compiler's run: starting one costs as much as a few kernels.
constexpr std::size_t kTextBytesMax = 100'000;
constexpr const char* kPrelude = "#include <takt_kernel.h>\n";

// The buffers of a step and its scratch memory, which is the last.
class Buffers {
 public:
  static Result<Buffers> make(const Step& step, const StepCode& code,
                              const std::vector<Bytes>& contents, Guard guard) {
    Buffers buffers(step);
    for (const Bytes& bytes : contents) {
      auto memory = GuardedMemory::allocate(bytes.size(), guard);
      if (!memory) return std::unexpected(std::move(memory).error());
      std::ranges::copy(bytes, memory->bytes().begin());
      if (buffers.all_.size() < step.inputs.size()) memory->make_read_only();
      buffers.all_.push_back(*std::move(memory));
    }
    auto scratch = GuardedMemory::allocate(code.scratch_bytes, guard);
    if (!scratch) return std::unexpected(std::move(scratch).error());
    std::ranges::fill(scratch->bytes(), std::byte{0xff});
    buffers.all_.push_back(*std::move(scratch));
    return buffers;
  }

  [[nodiscard]] std::vector<void*> pointers(const std::vector<Operand>& operands) const {
    std::vector<void*> pointers;
    for (const Operand& operand : operands) {
      const auto index = static_cast<std::size_t>(operand.index);
      const bool input = operand.kind == OperandKind::input;
      if (operand.kind == OperandKind::scratch) {
        pointers.push_back(all_.back().bytes().data() + operand.offset);
        continue;
      }
      const View& view = input ? step_->inputs[index] : step_->outputs[index].view;
      const GuardedMemory& buffer = all_[input ? index : step_->inputs.size() + index];
      pointers.push_back(buffer.bytes().data() +
                         static_cast<std::size_t>(view.offset) * element_bytes(view.type));
    }
    return pointers;
  }

  [[nodiscard]] std::string describe(std::uintptr_t address) const {
    for (std::size_t i = 0; i < all_.size(); ++i) {
      std::string text = all_[i].describe(address, name(i));
      if (!text.empty()) return text;
    }
    return "";
  }
  [[nodiscard]] std::string written_beside() const {
    for (std::size_t i = 0; i < all_.size(); ++i) {
      if (!all_[i].is_untouched_beside()) return name(i);
    }
    return "";
  }
  [[nodiscard]] std::span<std::byte> bytes(std::size_t index) const { return all_[index].bytes(); }

 private:
  explicit Buffers(const Step& step) : step_(&step) {}

  [[nodiscard]] std::string name(std::size_t index) const {
    const std::size_t inputs = step_->inputs.size();
    if (index < inputs) return fmt::format("input {}", index);
    if (index + 1 < all_.size()) return fmt::format("output {}", index - inputs);
    return "the scratch memory";
  }

  const Step* step_;
  std::vector<GuardedMemory> all_;
};

}  // namespace

Result<EmulatedSteps> EmulatedSteps::compile(const std::vector<StepCode>& codes, int capability) {
  EmulatedSteps steps;
  std::vector<std::string> texts;
  for (const StepCode& code : codes) {
    if (texts.empty() || texts.back().size() > kTextBytesMax) texts.emplace_back(kPrelude);
    for (const KernelCall& call : code.calls) {
      texts.back() += call.source.text;
      steps.library_of_[call.source.name] = texts.size() - 1;
    }
  }
  auto libraries = compile_all(texts, capability);
  if (!libraries) return std::unexpected(std::move(libraries).error());
  steps.libraries_ = *std::move(libraries);
  return steps;
}

Result<void> EmulatedSteps::run(const Step& step, const StepCode& code,
                                std::vector<Bytes>& buffers) {
  auto forwards = run_once(step, code, buffers, Order::forwards, Guard::behind);
  if (!forwards) return std::unexpected(std::move(forwards).error());
  const auto backwards = run_once(step, code, buffers, Order::backwards, Guard::before);
  if (!backwards) return std::unexpected(backwards.error());
  if (*forwards != *backwards) {
    return fail(ErrorKind::internal,
                "the outputs depend on the order of blocks and threads: a barrier is missing, or "
                "something is read that nobody wrote");
  }
  buffers = *std::move(forwards);
  return {};
}

Result<std::vector<Bytes>> EmulatedSteps::run_once(const Step& step, const StepCode& code,
                                                   const std::vector<Bytes>& buffers, Order order,
                                                   Guard guard) {
  const Result<Buffers> memory = Buffers::make(step, code, buffers, guard);
  if (!memory) return std::unexpected(memory.error());
  const auto describe = [&](std::uintptr_t address) { return memory->describe(address); };
  for (const KernelCall& call : code.calls) {
    const KernelSource& source = call.source;
    const Launch launch{source.blocks, source.threads_x, source.threads_y, source.cluster, {},
                        order,         describe};
    const KernelLibrary& library = libraries_[library_of_.at(source.name)];
    const auto done = library.run(*block_, source.name, memory->pointers(call.operands), launch);
    if (!done) return std::unexpected(done.error());
  }
  if (const std::string beside = memory->written_beside(); !beside.empty()) {
    return fail(ErrorKind::internal, "something was written beside " + beside);
  }
  std::vector<Bytes> after = buffers;
  for (std::size_t i = step.inputs.size(); i < after.size(); ++i) {
    std::ranges::copy(memory->bytes(i), after[i].begin());
  }
  return after;
}

}  // namespace takt::cuda::emulation
