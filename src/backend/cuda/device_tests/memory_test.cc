// SPDX-License-Identifier: Apache-2.0
#include "backend/cuda/memory.h"

#include "backend/cuda/captured_graph.h"
#include "backend/cuda/device_tests/gpu_fixture.h"
#include "backend/cuda/module.h"
#include "backend/cuda/stream.h"

#include <gmock/gmock.h>
#include <sys/mman.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <limits>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

namespace takt::cuda {
namespace {

constexpr std::size_t kMiB = std::size_t{1} << 20U;

void fill(std::span<std::byte> bytes, unsigned seed) {
  for (std::size_t i = 0; i < bytes.size(); ++i) {
    bytes[i] = static_cast<std::byte>(i * 31U + (i >> 8U) + seed);
  }
}

class GpuMemory : public GpuTest {};

TEST_F(GpuMemory, TheDeviceIsDescribed) {
  const Device& device = gpu_->device;
  print_measurement("cuda:0 is " + device.name + ", compute capability " +
                    to_string(device.capability) + ", " + std::to_string(device.sm_count) +
                    " SMs, " + std::to_string(device.memory_bytes / kMiB) + " MiB, PCI " +
                    device.pci_id + "; driver of CUDA " + version_text(gpu_->driver->version()) +
                    " (" + gpu_->driver->file().string() + "), NVRTC " +
                    version_text(gpu_->nvrtc.version()) + " (" + gpu_->nvrtc.file().string() + ")");
  EXPECT_FALSE(device.name.empty());
  EXPECT_GE(device.capability, kCapabilityMin);
  EXPECT_GT(device.sm_count, 0);
  EXPECT_GT(device.memory_bytes, 1024 * kMiB);
  EXPECT_THAT(device.pci_id, testing::MatchesRegex("[0-9a-fA-F]+:[0-9a-fA-F]+:[0-9a-fA-F]+.[0-9]"));
  const Result<std::vector<Device>> devices = list_devices(*gpu_->driver);
  TAKT_ASSERT_OK(devices);
  EXPECT_EQ(devices->front().pci_id, device.pci_id);
}

TEST_F(GpuMemory, ADeviceThatIsNotThereIsUnavailable) {
  for (const int index : {-1, 1000}) {
    const Result<Device> device = find_device(*gpu_->driver, index);
    ASSERT_FALSE(device.has_value());
    EXPECT_EQ(device.error().kind, ErrorKind::unavailable);
    EXPECT_THAT(device.error().message, testing::HasSubstr("cuda:" + std::to_string(index)));
  }
}

TEST_F(GpuMemory, BytesGoToTheDeviceAndComeBackTheSame) {
  const Result<Stream> stream = Stream::create(context_);
  TAKT_ASSERT_OK(stream);
  const Result<PinnedMemory> sent = PinnedMemory::allocate(context_, 8 * kMiB + 3);
  TAKT_ASSERT_OK(sent);
  const Result<PinnedMemory> received = PinnedMemory::allocate(context_, 8 * kMiB + 3);
  TAKT_ASSERT_OK(received);
  const Result<DeviceMemory> memory = DeviceMemory::allocate(context_, 8 * kMiB + 3);
  TAKT_ASSERT_OK(memory);
  fill(sent->bytes(), 1);
  fill(received->bytes(), 2);
  TAKT_ASSERT_OK(copy_to_device(memory->span(), sent->bytes(), *stream));
  TAKT_ASSERT_OK(copy_to_host(received->bytes(), memory->span(), *stream));
  TAKT_ASSERT_OK(stream->synchronize());
  EXPECT_TRUE(std::ranges::equal(sent->bytes(), received->bytes()));
}

TEST_F(GpuMemory, ACopyThatDoesNotFitIsRefused) {
  const Result<Stream> stream = Stream::create(context_);
  TAKT_ASSERT_OK(stream);
  const Result<DeviceMemory> memory = DeviceMemory::allocate(context_, 16);
  TAKT_ASSERT_OK(memory);
  std::array<std::byte, 17> more{};
  std::array<std::byte, 15> less{};
  EXPECT_FALSE(copy_to_device(memory->span(), more, *stream).has_value());
  EXPECT_FALSE(copy_to_host(less, memory->span(), *stream).has_value());
}

TEST_F(GpuMemory, AMappingThatOnlyReadsIsRegisteredAndCopied) {
  const std::size_t size = 2 * kMiB;
  void* const mapped =
      ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  ASSERT_NE(mapped, MAP_FAILED);
  const std::shared_ptr<void> unmap(mapped, [=](void* address) { ::munmap(address, size); });
  const std::span<std::byte> bytes(static_cast<std::byte*>(mapped), size);
  fill(bytes, 3);
  ASSERT_EQ(::mprotect(mapped, size, PROT_READ), 0);
  const Result<HostRegistration> registration = HostRegistration::read_only(context_, bytes);
  TAKT_ASSERT_OK(registration);
  EXPECT_NE(registration->span().address, 0U);

  const Result<Stream> stream = Stream::create(context_);
  TAKT_ASSERT_OK(stream);
  const Result<DeviceMemory> memory = DeviceMemory::allocate(context_, size);
  TAKT_ASSERT_OK(memory);
  const Result<PinnedMemory> received = PinnedMemory::allocate(context_, size);
  TAKT_ASSERT_OK(received);
  TAKT_ASSERT_OK(copy_to_device(memory->span(), bytes, *stream));
  TAKT_ASSERT_OK(copy_to_host(received->bytes(), memory->span(), *stream));
  TAKT_ASSERT_OK(stream->synchronize());
  EXPECT_TRUE(std::ranges::equal(bytes, received->bytes()));
}

TEST_F(GpuMemory, MoreThanTheDeviceHasIsOutOfMemoryAndTheContextGoesOn) {
  const Result<DeviceMemory> refused =
      DeviceMemory::allocate(context_, gpu_->device.memory_bytes + 1024 * kMiB);
  ASSERT_FALSE(refused.has_value());
  EXPECT_EQ(refused.error().kind, ErrorKind::out_of_memory) << refused.error().message;
  EXPECT_THAT(refused.error().message, testing::HasSubstr("cuMemAlloc"));
  TAKT_ASSERT_OK(DeviceMemory::allocate(context_, 64 * kMiB));
  TAKT_ASSERT_OK(context_->synchronize());
}

// Refuses one allocation, counted from 0.
class RefuseOne : public AllocationGate {
 public:
  bool admit(std::string_view, std::size_t) noexcept override { return count_++ != refused_; }
  void refuse(int which) {
    count_ = 0;
    refused_ = which;
  }
  [[nodiscard]] int count() const { return count_; }

 private:
  int count_ = 0;
  int refused_ = -1;
};

constexpr const char* kTouch = R"(
extern "C" __global__ void touch(unsigned* number) { *number += 1; }
)";

// One of everything that takes memory, and work that uses it.
Result<void> use_everything(const std::shared_ptr<const Context>& context,
                            std::span<const std::byte> code, std::span<const std::byte> mapping) {
  Result<Stream> stream = Stream::create(context);
  if (!stream) return std::unexpected(std::move(stream).error());
  Result<Event> event = Event::create(context, EventUse::ordering);
  if (!event) return std::unexpected(std::move(event).error());
  Result<DeviceMemory> memory = DeviceMemory::allocate(context, 64 * kMiB);
  if (!memory) return std::unexpected(std::move(memory).error());
  Result<PinnedMemory> pinned = PinnedMemory::allocate(context, 4 * kMiB);
  if (!pinned) return std::unexpected(std::move(pinned).error());
  Result<HostRegistration> registration = HostRegistration::read_only(context, mapping);
  if (!registration) return std::unexpected(std::move(registration).error());
  Result<Module> module = Module::load(context, code);
  if (!module) return std::unexpected(std::move(module).error());
  Result<Kernel> kernel = module->kernel("touch");
  if (!kernel) return std::unexpected(std::move(kernel).error());
  Result<CapturedGraph> graph = CapturedGraph::capture(
      *stream, [&] { return kernel->launch(*stream, {}, memory->span().address); });
  if (!graph) return std::unexpected(std::move(graph).error());
  Result<void> done = copy_to_device(memory->span(), pinned->bytes(), *stream);
  if (done) done = graph->launch(*stream);
  if (done) done = event->record(*stream);
  if (done) done = event->synchronize();
  return done;
}

TEST_F(GpuMemory, EveryAllocationThatFailsInTurnIsReportedAndLeaksNothing) {
  RefuseOne gate;
  open_context(&gate);
  const Result<std::vector<std::byte>> code =
      gpu_->nvrtc.compile(kTouch, "touch.cu", gpu_->device.capability);
  TAKT_ASSERT_OK(code);
  const std::shared_ptr<void> mapping(
      ::mmap(nullptr, kMiB, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0),
      [](void* address) { ::munmap(address, kMiB); });
  ASSERT_NE(mapping.get(), MAP_FAILED);
  const std::span<const std::byte> mapped(static_cast<const std::byte*>(mapping.get()), kMiB);

  gate.refuse(std::numeric_limits<int>::max());
  TAKT_ASSERT_OK(use_everything(context_, *code, mapped));
  const int allocations = gate.count();
  EXPECT_EQ(allocations, 7);

  // The first rounds fill what the driver keeps for itself; from then on nothing may get lost.
  constexpr int kRounds = 12;
  constexpr int kSettled = 4;
  MemoryUse before;
  for (int round = 0; round < kRounds; ++round) {
    if (round == kSettled) {
      TAKT_ASSERT_OK(context_->memory());
      before = *context_->memory();
    }
    for (int refused = 0; refused < allocations; ++refused) {
      gate.refuse(refused);
      const Result<void> used = use_everything(context_, *code, mapped);
      ASSERT_FALSE(used.has_value()) << "allocation " << refused;
      EXPECT_EQ(used.error().kind, ErrorKind::out_of_memory) << used.error().message;
    }
    gate.refuse(std::numeric_limits<int>::max());
    TAKT_ASSERT_OK(use_everything(context_, *code, mapped));
  }
  const Result<MemoryUse> after = context_->memory();
  TAKT_ASSERT_OK(after);
  EXPECT_GE(after->free_bytes, before.free_bytes);
}

}  // namespace
}  // namespace takt::cuda
