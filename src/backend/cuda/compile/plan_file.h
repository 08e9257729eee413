// SPDX-License-Identifier: Apache-2.0
// Plan files: what tuning found out for one model on one kind of device, so that loading it again tunes and
// compiles nothing. The model is imported and lowered again, which costs little; each step then looks up
// its pieces.
// Thread-safe: PieceStore by its own lock; everything else is plain values and functions on one file each.
// Several programs may share a folder: a file appears whole.
// Owns: a PieceStore its pieces. Files stay until somebody deletes them.
//
// A file, numbers little endian:
//   8 bytes  "taktplan"
//   u32      version of the format
//   u64      bytes of the whole file
//   u32      bytes of the key, and the key: JSON, its fields sorted by name
//   u32      number of pieces; for each, sorted by kind and key:
//              u8 bytes of the kind, kind, u8 bytes of the key, key, u64 bytes of the piece
//   ...      the pieces' bytes in the same order
//   32 bytes SHA-256 of everything before it
// There is one way to write a plan: whoever reads it and writes it again gets the same bytes.
#pragma once

#include "core/result.h"

#include <cstddef>
#include <cstdint>
#include <deque>
#include <filesystem>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace takt::cuda {

// What a plan depends on. Times measured and code compiled under other conditions are not used. Batch sizes,
// shapes and precisions are not part of it: each piece is named by the problem that it solves, so one plan serves
// them all. The compiler isn't either: code is named by the one that made it, and loads where there is none.
struct PlanKey {
  std::string model_name;    // for people and for the file's name; another name is the same model
  std::string model_sha256;  // model_digest() of model_digest.h
  std::string takt_version;
  std::string device_name;
  std::string capability;           // "9.0"
  int sm_count = 0;                 // of the partition that takt may use
  std::string driver_cuda_version;  // "13.0", and so on
  std::string cudnn_version;        // "": without it

  friend bool operator==(const PlanKey&, const PlanKey&) = default;
};

// Errors: invalid_input; the message says which fields differ, from what to what. The caller puts the
// file's name in front of it.
[[nodiscard]] Result<void> check_key(const PlanKey& expected, const PlanKey& found);

// Compiled kernels, execution plans of cuDNN, and which of several ways was the fastest.
inline constexpr std::string_view kKernelPiece = "kernel";
inline constexpr std::string_view kCudnnPiece = "cudnn";
inline constexpr std::string_view kChoicePiece = "choice";

inline constexpr std::size_t kPieceNameBytesMax = 255;  // of a kind, and of a key
inline constexpr std::size_t kPiecesMax = std::size_t{1} << 20;
// With the names. A plan of a large model has some MiB; this is far beyond, and still fits into memory.
inline constexpr std::size_t kPiecesBytesMax = std::size_t{1} << 30;

struct Piece {
  std::string_view kind;
  std::string_view
      key;  // begins with the SHA-256, in hexadecimal digits, of what the bytes are computed from
  std::span<const std::byte> bytes;
};

// Pieces by kind and key. Bytes that were in stay in, replaced or not, so that spans hold as long as the store.
class PieceStore {
 public:
  PieceStore() = default;
  // With pieces of different names whose bytes lie in `storage`.
  PieceStore(std::vector<std::byte> storage, const std::vector<Piece>& pieces);

  struct Counts {
    std::uint64_t hits = 0;
    std::uint64_t misses = 0;
    std::uint64_t writes = 0;
  };

  [[nodiscard]] std::optional<std::span<const std::byte>> find(std::string_view kind,
                                                               std::string_view key) const;
  // The first whose key begins so.
  [[nodiscard]] std::optional<std::span<const std::byte>> find_prefix(
      std::string_view kind, std::string_view prefix) const;
  // A piece that is there already stays as it is. Errors: overloaded (kPiecesMax or kPiecesBytesMax; the
  // plan goes without this piece, and `bytes` stay the caller's), invalid_input (a kind or key that is empty
  // or too long).
  [[nodiscard]] Result<void> put(std::string_view kind, std::string_view key,
                                 std::vector<std::byte>&& bytes);
  // As put(), but takes the place of a piece that is there.
  [[nodiscard]] Result<void> replace(std::string_view kind, std::string_view key,
                                     std::vector<std::byte>&& bytes);
  // Copies of the other's pieces whose names it lacks, as many as fit.
  void add_missing(const PieceStore& other);

  [[nodiscard]] Counts counts() const;              // of searches, and of pieces put or replaced
  [[nodiscard]] std::size_t bytes() const;          // with the names
  [[nodiscard]] std::vector<Piece> pieces() const;  // sorted by kind and key

 private:
  using Name = std::pair<std::string, std::string>;
  using NameView = std::pair<std::string_view, std::string_view>;
  struct Less {
    using is_transparent = void;
    bool operator()(const NameView& a, const NameView& b) const noexcept { return a < b; }
  };

  using Pieces = std::map<Name, std::span<const std::byte>, Less>;

  // Under lock_.
  [[nodiscard]] std::optional<std::span<const std::byte>> counted(
      Pieces::const_iterator found) const;
  [[nodiscard]] Result<void> write(std::string_view kind, std::string_view key,
                                   std::vector<std::byte>&& bytes, bool replaces);

  mutable std::mutex lock_;
  // All guarded by lock_:
  Pieces pieces_;
  std::deque<std::vector<std::byte>> storage_;  // what the spans see
  std::size_t bytes_ = 0;
  mutable Counts counts_;
};

struct Plan {
  PlanKey key;
  std::unique_ptr<PieceStore> pieces;
};

// "CACHE/3f9a0c4be1d27a55-5d12a90c77b3e0f4.taktplan": digests of the model and of everything else but its name.
[[nodiscard]] std::filesystem::path plan_path(const std::filesystem::path& cache_dir,
                                              const PlanKey& key);

// Replaces the file in one step, with the permissions of any new file. Errors: unavailable (no folder, no
// space), which names the file.
[[nodiscard]] Result<void> write_plan(const std::filesystem::path& file, const PlanKey& key,
                                      const PieceStore& pieces);

// That write_plan() will find room for a name: makes the folder, and leaves no file. Errors: unavailable, as
// write_plan(); a plan takes minutes to find out, so this is asked first.
[[nodiscard]] Result<void> check_writable(const std::filesystem::path& file);

// Errors, which name the file: unavailable (there is none, or it can't be read), invalid_input (truncated,
// damaged, of another version of the format; the message says what to do).
[[nodiscard]] Result<Plan> read_plan(const std::filesystem::path& file);

// The same in memory; messages name no file.
[[nodiscard]] std::vector<std::byte> plan_bytes(const PlanKey& key, const PieceStore& pieces);
[[nodiscard]] Result<Plan> parse_plan(std::vector<std::byte> file);

}  // namespace takt::cuda
