// SPDX-License-Identifier: Apache-2.0
#include "backend/cuda/compile/plan_file.h"

#include "backend/cuda/compile/sha256.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <nlohmann/json.hpp>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <limits>
#include <random>
#include <system_error>

namespace takt::cuda {
namespace {

using nlohmann::json;
namespace fs = std::filesystem;

static_assert(std::endian::native == std::endian::little);  // numbers are copied as they are

constexpr std::string_view kMagic = "taktplan";
constexpr std::uint32_t kFormatVersion = 1;
constexpr std::size_t kFileBytesAt = kMagic.size() + sizeof(kFormatVersion);
constexpr std::size_t kHeadBytes = kFileBytesAt + sizeof(std::uint64_t);
constexpr std::size_t kDigestBytes = sizeof(Digest);
constexpr std::size_t kKeyBytesMax = std::size_t{1} << 20;
constexpr std::size_t kPieceRowBytes = 2 + sizeof(std::uint64_t);  // beside the names
constexpr std::size_t kFileBytesMax =
    kPiecesBytesMax + kPiecesMax * kPieceRowBytes + kKeyBytesMax + 1024;

constexpr std::string_view kModelName = "model_name";
constexpr std::string_view kRemedy = "; takt compile makes it again";

// The key.

json to_json(const PlanKey& key) {
  return {{kModelName, key.model_name},
          {"model_sha256", key.model_sha256},
          {"takt_version", key.takt_version},
          {"device_name", key.device_name},
          {"capability", key.capability},
          {"sm_count", key.sm_count},
          {"driver_cuda_version", key.driver_cuda_version},
          {"cudnn_version", key.cudnn_version}};
}

// Names in a model need not be UTF-8, JSON must.
std::string text_of(const json& value) {
  return value.dump(-1, ' ', false, json::error_handler_t::replace);
}

// Throws json::exception for what is missing or of another type. Numbers that don't fit come out as others,
// which the comparison with the text finds.
PlanKey key_of(const json& fields) {
  const auto text = [&fields](std::string_view name) { return fields.at(name).get<std::string>(); };
  const auto number = [](const json& value) {
    return value.is_number_integer() ? value.get<std::uint64_t>() : 0;
  };
  PlanKey key;
  key.model_name = text(kModelName);
  key.model_sha256 = text("model_sha256");
  key.takt_version = text("takt_version");
  key.device_name = text("device_name");
  key.capability = text("capability");
  key.sm_count = static_cast<int>(number(fields.at("sm_count")));
  key.driver_cuda_version = text("driver_cuda_version");
  key.cudnn_version = text("cudnn_version");
  return key;
}

std::optional<PlanKey> parse_key(std::string_view text) {
  try {
    PlanKey key = key_of(json::parse(text));
    return text_of(to_json(key)) == text ? std::optional(std::move(key)) : std::nullopt;
  } catch (const json::exception&) {
    return std::nullopt;
  }
}

// Writing.

template <typename Number>
void put(std::vector<std::byte>& bytes, Number number) {
  const auto raw = std::as_bytes(std::span(&number, 1));
  bytes.insert(bytes.end(), raw.begin(), raw.end());
}

void put(std::vector<std::byte>& bytes, std::string_view text) {
  const auto raw = std::as_bytes(std::span(text));
  bytes.insert(bytes.end(), raw.begin(), raw.end());
}

std::string error_text(int error) {
  return std::generic_category().message(error);
}

// With a name that no other program and no other thread has.
fs::path unfinished_name(const fs::path& file) {
  std::random_device random;
  return file.string() + fmt::format(".{}-{:08x}.new", ::getpid(), random());
}

bool write_all(int descriptor, std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const ssize_t written = ::write(descriptor, bytes.data(), bytes.size());
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) return false;
    bytes = bytes.subspan(static_cast<std::size_t>(written));
  }
  return true;
}

// 0, or errno.
int write_new(const fs::path& file, std::span<const std::byte> bytes) {
  constexpr mode_t kMode = 0666;  // less what the umask takes away
  const int descriptor = ::open(file.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, kMode);
  if (descriptor < 0) return errno;
  const bool written = write_all(descriptor, bytes) && ::fsync(descriptor) == 0;
  const int error = written ? 0 : errno;
  return ::close(descriptor) == 0 || error != 0 ? error : errno;
}

std::unexpected<Error> cant_be_written(const fs::path& file, int error) {
  return fail(ErrorKind::unavailable,
              fmt::format("{}: can't be written ({}); free space there, or name another folder",
                          file.string(), error_text(error)));
}

// Reading.

std::unexpected<Error> damaged(std::string_view what) {
  return fail(ErrorKind::invalid_input, fmt::format("damaged: {}{}", what, kRemedy));
}

class Reader {
 public:
  explicit Reader(std::span<const std::byte> bytes) : bytes_(bytes) {}

  [[nodiscard]] std::size_t left() const noexcept { return bytes_.size(); }

  [[nodiscard]] std::optional<std::span<const std::byte>> take(std::uint64_t count) {
    if (count > bytes_.size()) return std::nullopt;
    const auto taken = bytes_.first(count);
    bytes_ = bytes_.subspan(count);
    return taken;
  }

  template <typename Number>
  [[nodiscard]] std::optional<Number> number() {
    const auto raw = take(sizeof(Number));
    if (!raw) return std::nullopt;
    Number number{};
    std::memcpy(&number, raw->data(), sizeof(Number));
    return number;
  }

  // Of `Length` and so many bytes.
  template <typename Length>
  [[nodiscard]] std::optional<std::string_view> text() {
    const std::optional<Length> length = number<Length>();
    const auto raw = length ? take(*length) : std::nullopt;
    if (!raw) return std::nullopt;
    return std::string_view(reinterpret_cast<const char*>(raw->data()), raw->size());
  }

 private:
  std::span<const std::byte> bytes_;
};

// That it is a plan of this format, whole and as it was written.
Result<void> check_file(std::span<const std::byte> file) {
  Reader reader(file);
  const auto magic = reader.take(kMagic.size());
  if (!magic || std::memcmp(magic->data(), kMagic.data(), kMagic.size()) != 0) {
    return fail(ErrorKind::invalid_input, fmt::format("not a plan file{}", kRemedy));
  }
  const auto version = reader.number<std::uint32_t>();
  if (version && *version != kFormatVersion) {
    return fail(ErrorKind::invalid_input,
                fmt::format("a plan of format {}, but this takt reads format {}{}", *version,
                            kFormatVersion, kRemedy));
  }
  const auto bytes = reader.number<std::uint64_t>();
  if (!bytes || file.size() < *bytes || file.size() < kHeadBytes + kDigestBytes) {
    return fail(ErrorKind::invalid_input, fmt::format("truncated: {} bytes of {}{}", file.size(),
                                                      bytes.value_or(kHeadBytes), kRemedy));
  }
  if (file.size() > *bytes) return damaged("it goes on behind its end");
  const auto body = file.first(file.size() - kDigestBytes);
  const Digest digest = sha256(body);
  if (!std::ranges::equal(digest, file.last(kDigestBytes))) {
    return damaged("its checksum is another");
  }
  return {};
}

struct Row {
  Piece piece;  // still without its bytes
  std::uint64_t bytes = 0;
};

std::optional<Row> take_row(Reader& reader) {
  const auto kind = reader.text<std::uint8_t>();
  const auto key = kind ? reader.text<std::uint8_t>() : std::nullopt;
  const auto bytes = key ? reader.number<std::uint64_t>() : std::nullopt;
  if (!bytes || kind->empty() || key->empty()) return std::nullopt;
  return Row{{*kind, *key, {}}, *bytes};
}

std::optional<std::vector<Row>> take_table(Reader& reader) {
  const auto count = reader.number<std::uint32_t>();
  if (!count || *count > kPiecesMax) return std::nullopt;
  std::vector<Row> rows;
  for (std::uint32_t i = 0; i < *count; ++i) {
    const std::optional<Row> row = take_row(reader);
    if (!row) return std::nullopt;
    const auto name = [](const Row& one) { return std::pair(one.piece.kind, one.piece.key); };
    if (!rows.empty() && name(rows.back()) >= name(*row)) return std::nullopt;
    rows.push_back(*row);
  }
  return rows;
}

// The pieces' bytes, which fill the rest.
std::optional<std::vector<Piece>> take_pieces(Reader& reader, const std::vector<Row>& rows) {
  std::vector<Piece> pieces;
  std::size_t bytes = 0;
  for (const Row& row : rows) {
    const auto content = reader.take(row.bytes);
    if (!content) return std::nullopt;
    pieces.push_back({row.piece.kind, row.piece.key, *content});
    bytes += row.piece.kind.size() + row.piece.key.size() + content->size();
  }
  if (reader.left() != 0 || bytes > kPiecesBytesMax) return std::nullopt;
  return pieces;
}

Result<std::vector<std::byte>> read_bytes(const fs::path& file) {
  std::error_code error;
  const fs::file_status status = fs::status(file, error);
  if (status.type() == fs::file_type::not_found) {
    return fail(ErrorKind::unavailable, "no such plan; takt compile makes it");
  }
  if (status.type() != fs::file_type::regular) {
    return fail(ErrorKind::unavailable, "can't be read: not a regular file");
  }
  const std::uint64_t size = fs::file_size(file, error);
  if (error) return fail(ErrorKind::unavailable, "can't be read: " + error.message());
  if (size > kFileBytesMax) {
    return fail(ErrorKind::invalid_input,
                fmt::format("{} bytes, more than any plan has{}", size, kRemedy));
  }
  std::vector<std::byte> bytes(size);
  std::ifstream stream(file, std::ios::binary);
  if (!stream || !stream.read(reinterpret_cast<char*>(bytes.data()),
                              static_cast<std::streamsize>(bytes.size()))) {
    return fail(ErrorKind::unavailable, "can't be read: " + error_text(errno));
  }
  return bytes;
}

}  // namespace

Result<void> check_key(const PlanKey& expected, const PlanKey& found) {
  std::string differences;
  const json here = to_json(expected);
  const json there = to_json(found);
  for (const auto& [name, value] : here.items()) {
    const std::string from = text_of(there.at(name));
    const std::string to = text_of(value);
    if (name == kModelName || from == to) continue;
    differences +=
        fmt::format("{}{} from {} to {}", differences.empty() ? "" : ", ", name, from, to);
  }
  if (differences.empty()) return {};
  return fail(ErrorKind::invalid_input,
              fmt::format("made under other conditions ({}){}", differences, kRemedy));
}

PieceStore::PieceStore(std::vector<std::byte> storage, const std::vector<Piece>& pieces) {
  storage_.push_back(std::move(storage));
  for (const Piece& piece : pieces) {
    pieces_.emplace(Name(piece.kind, piece.key), piece.bytes);
    bytes_ += piece.kind.size() + piece.key.size() + piece.bytes.size();
  }
}

std::optional<std::span<const std::byte>> PieceStore::counted(Pieces::const_iterator found) const {
  ++(found == pieces_.end() ? counts_.misses : counts_.hits);
  if (found == pieces_.end()) return std::nullopt;
  return found->second;
}

std::optional<std::span<const std::byte>> PieceStore::find(std::string_view kind,
                                                           std::string_view key) const {
  const std::scoped_lock guard(lock_);
  return counted(pieces_.find(NameView(kind, key)));
}

std::optional<std::span<const std::byte>> PieceStore::find_prefix(std::string_view kind,
                                                                  std::string_view prefix) const {
  const std::scoped_lock guard(lock_);
  const auto found = pieces_.lower_bound(NameView(kind, prefix));
  const bool fits = found != pieces_.end() && found->first.first == kind &&
                    found->first.second.starts_with(prefix);
  return counted(fits ? found : pieces_.end());
}

Result<void> PieceStore::put(std::string_view kind, std::string_view key,
                             std::vector<std::byte>&& bytes) {
  return write(kind, key, std::move(bytes), false);
}

Result<void> PieceStore::replace(std::string_view kind, std::string_view key,
                                 std::vector<std::byte>&& bytes) {
  return write(kind, key, std::move(bytes), true);
}

Result<void> PieceStore::write(std::string_view kind, std::string_view key,
                               std::vector<std::byte>&& bytes, bool replaces) {
  const auto named = [](std::string_view name) {
    return !name.empty() && name.size() <= kPieceNameBytesMax;
  };
  if (!named(kind) || !named(key)) {
    return fail(
        ErrorKind::invalid_input,
        fmt::format("a piece of a plan has a kind and a key of 1 to {} bytes, not of {} and {}",
                    kPieceNameBytesMax, kind.size(), key.size()));
  }
  const std::scoped_lock guard(lock_);
  const auto old = pieces_.find(NameView(kind, key));
  const bool is_new = old == pieces_.end();
  if (!is_new && !replaces) return {};
  const std::size_t names = kind.size() + key.size();
  const std::size_t others = bytes_ - (is_new ? 0 : names + old->second.size());
  if ((is_new && pieces_.size() == kPiecesMax) || names > kPiecesBytesMax - others ||
      bytes.size() > kPiecesBytesMax - others - names) {
    return fail(
        ErrorKind::overloaded,
        fmt::format("the plan is full ({} pieces, {} MiB): compile fewer batch sizes at once",
                    pieces_.size(), bytes_ >> 20U));
  }
  storage_.push_back(std::move(bytes));
  pieces_.insert_or_assign(Name(kind, key), storage_.back());
  bytes_ = others + names + storage_.back().size();
  ++counts_.writes;
  return {};
}

void PieceStore::add_missing(const PieceStore& other) {
  for (const Piece& piece : other.pieces()) {
    // What doesn't fit is found out again.
    (void)put(piece.kind, piece.key, {piece.bytes.begin(), piece.bytes.end()});
  }
}

PieceStore::Counts PieceStore::counts() const {
  const std::scoped_lock guard(lock_);
  return counts_;
}

std::size_t PieceStore::bytes() const {
  const std::scoped_lock guard(lock_);
  return bytes_;
}

std::vector<Piece> PieceStore::pieces() const {
  const std::scoped_lock guard(lock_);
  std::vector<Piece> all;
  all.reserve(pieces_.size());
  for (const auto& [name, bytes] : pieces_) all.push_back({name.first, name.second, bytes});
  return all;
}

fs::path plan_path(const fs::path& cache_dir, const PlanKey& key) {
  constexpr std::size_t kDigits = 16;
  PlanKey nameless = key;
  nameless.model_name.clear();
  return cache_dir / fmt::format("{}-{}.taktplan", sha256_hex(key.model_sha256).substr(0, kDigits),
                                 sha256_hex(text_of(to_json(nameless))).substr(0, kDigits));
}

std::vector<std::byte> plan_bytes(const PlanKey& key, const PieceStore& pieces) {
  const std::vector<Piece> all = pieces.pieces();
  const std::string key_text = text_of(to_json(key));
  std::vector<std::byte> bytes;
  put(bytes, kMagic);
  put(bytes, kFormatVersion);
  put(bytes, std::uint64_t{0});  // the file's bytes, once they are known
  put(bytes, static_cast<std::uint32_t>(key_text.size()));
  put(bytes, std::string_view(key_text));
  put(bytes, static_cast<std::uint32_t>(all.size()));
  for (const Piece& piece : all) {
    for (const std::string_view name : {piece.kind, piece.key}) {
      put(bytes, static_cast<std::uint8_t>(name.size()));
      put(bytes, name);
    }
    put(bytes, std::uint64_t{piece.bytes.size()});
  }
  for (const Piece& piece : all) {
    bytes.insert(bytes.end(), piece.bytes.begin(), piece.bytes.end());
  }
  const std::uint64_t file_bytes = bytes.size() + kDigestBytes;
  std::memcpy(bytes.data() + kFileBytesAt, &file_bytes, sizeof(file_bytes));
  const Digest digest = sha256(bytes);
  bytes.insert(bytes.end(), digest.begin(), digest.end());
  return bytes;
}

Result<void> write_plan(const fs::path& file, const PlanKey& key, const PieceStore& pieces) {
  std::error_code failure;
  if (file.has_parent_path()) fs::create_directories(file.parent_path(), failure);
  const fs::path unfinished = unfinished_name(file);
  int error = write_new(unfinished, plan_bytes(key, pieces));
  if (error == 0) {
    if (::rename(unfinished.c_str(), file.c_str()) == 0) return {};
    error = errno;
  }
  fs::remove(unfinished, failure);
  return cant_be_written(file, error);
}

Result<void> check_writable(const fs::path& file) {
  std::error_code failure;
  if (fs::is_directory(file, failure)) return cant_be_written(file, EISDIR);
  if (file.has_parent_path()) fs::create_directories(file.parent_path(), failure);
  const fs::path unfinished = unfinished_name(file);
  const int error = write_new(unfinished, {});
  fs::remove(unfinished, failure);
  if (error != 0) return cant_be_written(file, error);
  return {};
}

Result<Plan> parse_plan(std::vector<std::byte> file) {
  if (Result<void> checked = check_file(file); !checked) {
    return std::unexpected(std::move(checked).error());
  }
  const auto body = std::span<const std::byte>(file).first(file.size() - kDigestBytes);
  Reader reader(body.subspan(kHeadBytes));
  const auto key_text = reader.text<std::uint32_t>();
  std::optional<PlanKey> key;
  if (key_text && key_text->size() <= kKeyBytesMax) key = parse_key(*key_text);
  if (!key) return damaged("its key can't be read");
  const auto rows = take_table(reader);
  if (!rows) return damaged("its table of pieces can't be read");
  const auto pieces = take_pieces(reader, *rows);
  if (!pieces) return damaged("its pieces don't fill it");
  // The spans of `pieces` stay valid: the vector's bytes move with it.
  return Plan{std::move(*key), std::make_unique<PieceStore>(std::move(file), *pieces)};
}

Result<Plan> read_plan(const fs::path& file) {
  Result<std::vector<std::byte>> bytes = read_bytes(file);
  if (!bytes) return std::unexpected(std::move(bytes).error().within(file.string()));
  Result<Plan> plan = parse_plan(std::move(*bytes));
  if (!plan) return std::unexpected(std::move(plan).error().within(file.string()));
  return plan;
}

}  // namespace takt::cuda
