// SPDX-License-Identifier: Apache-2.0
#include "server/shared_regions.h"

#include "ipc/descriptor.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <limits>
#include <utility>

namespace takt::server {
namespace {

constexpr std::size_t kNameBytesMax = 255;

// A name as shm_open takes it: one slash, in front or left out.
bool is_object_name(std::string_view key) {
  if (key.starts_with('/')) key.remove_prefix(1);
  return !key.empty() && key.size() <= kNameBytesMax && key.find('/') == std::string_view::npos &&
         key.find('\0') == std::string_view::npos && key != "." && key != "..";
}

std::size_t object_bytes(int descriptor) {
  struct stat status{};
  if (::fstat(descriptor, &status) != 0 || !S_ISREG(status.st_mode) || status.st_size < 0) return 0;
  return static_cast<std::size_t>(status.st_size);
}

bool inside(std::size_t offset, std::size_t bytes, std::size_t room) {
  return offset <= room && bytes <= room - offset;
}

}  // namespace

struct SharedRegions::Region {
  RegionInfo info;
  ipc::Descriptor object;
};

ApiResult<void> SharedRegions::add(const RegionInfo& region) {
  if (!limits_.allowed) {
    return refuse(ApiCode::permission_denied,
                  "shared memory is switched off on this server (server.shared_memory)");
  }
  if (region.name.empty() || region.name.size() > kNameBytesMax || !is_object_name(region.key)) {
    return refuse(ApiCode::invalid_argument,
                  fmt::format("shared memory region '{}': expected a name, and a key such as "
                              "/input_data without further slashes",
                              region.name));
  }
  const std::string path = region.key.starts_with('/') ? region.key : "/" + region.key;
  ipc::Descriptor object(::shm_open(path.c_str(), O_RDWR | O_CLOEXEC, 0));
  if (object.get() < 0) {
    return refuse(ApiCode::invalid_argument,
                  fmt::format("unable to open shared memory region '{}': no object '{}' that this "
                              "server may read and write",
                              region.name, region.key));
  }
  if (!inside(region.offset, region.bytes, object_bytes(object.get())) || region.bytes == 0) {
    return refuse(
        ApiCode::invalid_argument,
        fmt::format("failed to register shared memory region '{}': invalid args: the "
                    "object has {} bytes, which don't hold {} from offset {}",
                    region.name, object_bytes(object.get()), region.bytes, region.offset));
  }
  auto made = std::make_shared<const Region>(region, std::move(object));
  const std::scoped_lock lock(mutex_);
  if (regions_.contains(region.name)) {
    return refuse(ApiCode::already_exists,
                  fmt::format("shared memory region '{}' already in manager", region.name));
  }
  if (regions_.size() >= limits_.regions_max) {
    return refuse(ApiCode::resource_exhausted,
                  fmt::format("{} shared memory regions are registered, the most that this server "
                              "allows; unregister some",
                              regions_.size()));
  }
  regions_.emplace(region.name, std::move(made));
  return {};
}

ApiResult<std::vector<RegionInfo>> SharedRegions::list(std::string_view name) const {
  const std::scoped_lock lock(mutex_);
  std::vector<RegionInfo> found;
  for (const auto& [known, region] : regions_) {
    if (name.empty() || name == known) found.push_back(region->info);
  }
  if (!name.empty() && found.empty()) {
    return refuse(ApiCode::not_found,
                  fmt::format("Unable to find system shared memory region: '{}'", name));
  }
  return found;
}

void SharedRegions::remove(std::string_view name) {
  const std::scoped_lock lock(mutex_);
  if (const auto found = regions_.find(name); found != regions_.end()) regions_.erase(found);
}

void SharedRegions::remove_all() {
  const std::scoped_lock lock(mutex_);
  regions_.clear();
}

ApiResult<std::shared_ptr<const SharedRegions::Region>> SharedRegions::find(
    const SharedPlace& place) const {
  std::shared_ptr<const Region> region;
  {
    const std::scoped_lock lock(mutex_);
    if (const auto found = regions_.find(place.region); found != regions_.end()) {
      region = found->second;
    }
  }
  if (region == nullptr) {
    return refuse(ApiCode::invalid_argument,
                  fmt::format("Unable to find shared memory region: '{}'", place.region));
  }
  if (!inside(place.offset, place.bytes, region->info.bytes)) {
    return refuse(ApiCode::invalid_argument,
                  fmt::format("Invalid offset + byte size for shared memory region: '{}': {} bytes "
                              "from offset {} don't lie in its {} bytes",
                              place.region, place.bytes, place.offset, region->info.bytes));
  }
  return region;
}

ApiResult<void> SharedRegions::read(const SharedPlace& place, std::span<std::byte> into) const {
  const auto region = find(place);
  if (!region) return std::unexpected(region.error());
  std::size_t done = 0;
  while (done < place.bytes) {
    const auto from = static_cast<off_t>((*region)->info.offset + place.offset + done);
    const ssize_t got =
        ::pread((*region)->object.get(), into.data() + done, place.bytes - done, from);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) {
      return refuse(ApiCode::invalid_argument,
                    fmt::format("shared memory region '{}' has become smaller than it was when it "
                                "was registered",
                                place.region));
    }
    done += static_cast<std::size_t>(got);
  }
  return {};
}

ApiResult<void> SharedRegions::write(const SharedPlace& place,
                                     std::span<const std::byte> from) const {
  const auto region = find({place.region, place.offset, from.size()});
  if (!region) return std::unexpected(region.error());
  const RegionInfo& info = (*region)->info;
  // A write would make an object that was shrunk as large as it was.
  if (!inside(info.offset + place.offset, from.size(), object_bytes((*region)->object.get()))) {
    return refuse(
        ApiCode::invalid_argument,
        fmt::format("shared memory region '{}' has become smaller than it was when it was "
                    "registered",
                    place.region));
  }
  std::size_t done = 0;
  while (done < from.size()) {
    const auto to = static_cast<off_t>(info.offset + place.offset + done);
    const ssize_t put =
        ::pwrite((*region)->object.get(), from.data() + done, from.size() - done, to);
    if (put < 0 && errno == EINTR) continue;
    if (put <= 0) {
      return refuse(ApiCode::internal,
                    fmt::format("shared memory region '{}' can't be written", place.region));
    }
    done += static_cast<std::size_t>(put);
  }
  return {};
}

}  // namespace takt::server
