// SPDX-License-Identifier: Apache-2.0
#include "line/frame_reader.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <new>
#include <system_error>
#include <utility>

namespace takt::line {
namespace {

class Descriptor {
 public:
  explicit Descriptor(int value) : value_(value) {}
  ~Descriptor() {
    if (value_ >= 0) ::close(value_);
  }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  [[nodiscard]] int get() const { return value_; }

 private:
  int value_;
};

std::unexpected<Error> refuse(const std::string& message) {
  return fail(ErrorKind::invalid_input, message);
}

std::unexpected<Error> refuse_errno(const std::string& what) {
  return refuse(errno == ENOENT ? "no such file"
                                : what + ": " + std::generic_category().message(errno));
}

Result<void> make_room(std::vector<std::byte>& bytes, std::size_t size) {
  try {
    bytes.resize(size);
  } catch (const std::bad_alloc&) {
    return fail(ErrorKind::out_of_memory,
                "no memory for a file of " + std::to_string(size) + " bytes");
  }
  return {};
}

Result<void> read_file(const std::filesystem::path& path, std::size_t bytes_max,
                       std::vector<std::byte>& bytes) {
  // O_NONBLOCK: opening a named pipe must not wait for a writer.
  const Descriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  struct stat status{};
  if (file.get() < 0) return refuse_errno("can't be opened");
  if (::fstat(file.get(), &status) != 0) return refuse_errno("can't be read");
  if (!S_ISREG(status.st_mode)) return refuse("not a regular file");
  if (static_cast<std::size_t>(status.st_size) > bytes_max) {
    return refuse(std::to_string(status.st_size) + " bytes; at most " + std::to_string(bytes_max) +
                  " are read");
  }
  if (Result<void> room = make_room(bytes, static_cast<std::size_t>(status.st_size)); !room) {
    return room;
  }
  std::size_t done = 0;
  while (done < bytes.size()) {
    const ssize_t got = ::read(file.get(), bytes.data() + done, bytes.size() - done);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return refuse_errno("can't be read");
    if (got == 0) break;  // cut while it was read: the decoder says what is missing
    done += static_cast<std::size_t>(got);
  }
  bytes.resize(done);
  return {};
}

std::string size_text(const ImageInfo& info) {
  return std::to_string(info.width) + "x" + std::to_string(info.height);
}

}  // namespace

void FrameReader::start(std::size_t count) {
  while (loaded_.size() < count) loaded_.push_back({{}, {}, {}, {}, ImageInfo{}});
  count_ = count;
}

void FrameReader::load(const std::vector<ImageFile>& files) {
  start(files.size());
  for (std::size_t i = 0; i < count_; ++i) {
    Loaded& image = loaded_[i];
    image.role = files[i].role;
    image.label = files[i].role + " " + files[i].path.filename().string();
    const Result<void> read = read_file(files[i].path, limits_.file_bytes_max, image.file);
    image.bytes = image.file;
    image.info = read ? probe(image.bytes, limits_) : std::unexpected(read.error());
  }
  agree();
}

void FrameReader::load(std::span<const EncodedImage> images) {
  start(images.size());
  for (std::size_t i = 0; i < count_; ++i) {
    Loaded& image = loaded_[i];
    image.role = images[i].role;
    image.label = images[i].role;
    image.bytes = images[i].bytes;
    image.info = probe(image.bytes, limits_);
  }
  agree();
}

void FrameReader::agree() {
  const Loaded* first = nullptr;
  for (std::size_t i = 0; i < count_; ++i) {
    Loaded& image = loaded_[i];
    if (!image.info) continue;
    if (first == nullptr) {
      first = &image;
    } else if (image.info->width != first->info->width ||
               image.info->height != first->info->height) {
      image.info = refuse(size_text(*image.info) + " pixels, but " + first->label + " has " +
                          size_text(*first->info) + "; the images of a frame have one size");
    }
  }
}

std::optional<CaptureSize> FrameReader::size() const {
  for (std::size_t i = 0; i < count_; ++i) {
    if (const Result<ImageInfo>& info = loaded_[i].info) {
      return CaptureSize{info->width, info->height, format_, count_};
    }
  }
  return std::nullopt;
}

FrameImages FrameReader::decode(const Capture* capture) {
  FrameImages result;
  for (std::size_t i = 0; i < count_; ++i) {
    const Loaded& image = loaded_[i];
    Result<void> decoded;
    if (!image.info) {
      decoded = std::unexpected(image.info.error());
    } else if (capture != nullptr) {
      const std::size_t stride = static_cast<std::size_t>(image.info->width) *
                                 static_cast<std::size_t>(channel_count(format_));
      decoded = takt::decode(image.bytes, format_, capture->plane(i), stride, limits_);
      if (decoded) result.images.push_back(capture->image(i, image.role));
    }
    if (!decoded && !result.damage) {
      result.damage = std::move(decoded).error().within(image.label);
    }
  }
  return result;
}

}  // namespace takt::line
