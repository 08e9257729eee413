// SPDX-License-Identifier: Apache-2.0
// A plan file from a folder that others may write to, as it is and with its sums made right.
#include "backend/cuda/compile/plan_file.h"
#include "backend/cuda/compile/sha256.h"
#include "target.h"

#include <algorithm>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace takt::fuzz {
namespace {

using cuda::Digest;
using cuda::PieceStore;
using cuda::Plan;
using cuda::PlanKey;

constexpr std::size_t kFileBytesAt = 12;  // plan_file.h: where the file says its length

void check(const Bytes& file) {
  const Result<Plan> plan = cuda::parse_plan(file);
  if (!plan) {
    require(plan.error().kind == ErrorKind::invalid_input, "a bad plan is invalid input");
    require(!plan.error().message.empty(), "errors have words");
    return;
  }
  require(cuda::plan_bytes(plan->key, *plan->pieces) == file, "a plan is written in one way");
  for (const cuda::Piece& piece : plan->pieces->pieces()) {
    const auto found = plan->pieces->find(piece.kind, piece.key);
    require(found && found->data() == piece.bytes.data(), "a piece is found by its name");
  }
}

// Where the fields lie, the length and the digest that the rest of the file needs.
Bytes with_sums(Bytes file) {
  const std::uint64_t size = file.size();
  std::ranges::copy(std::as_bytes(std::span(&size, 1)), file.begin() + kFileBytesAt);
  const Digest digest = cuda::sha256(std::span(file).first(file.size() - sizeof(Digest)));
  std::ranges::copy(digest, file.end() - sizeof(Digest));
  return file;
}

void run(std::span<const std::byte> bytes) {
  Bytes file(bytes.begin(), bytes.end());
  check(file);
  if (file.size() < kFileBytesAt + sizeof(std::uint64_t) + sizeof(Digest)) return;
  check(with_sums(std::move(file)));
}

void put(PieceStore& store, std::string_view kind, std::string_view content) {
  const auto bytes = std::as_bytes(std::span(content));
  const bool put =
      store.put(kind, cuda::sha256_hex(content), {bytes.begin(), bytes.end()}).has_value();
  require(put, "a seed's piece fits");
}

std::vector<Seed> seeds() {
  PlanKey key;
  key.model_name = "small";
  key.model_sha256 = cuda::sha256_hex("small");
  key.device_name = "NVIDIA L4";
  key.sm_count = 58;
  PieceStore pieces;
  put(pieces, cuda::kKernelPiece, "code");
  put(pieces, cuda::kCudnnPiece, "{}");
  put(pieces, cuda::kChoicePiece, "tile 3");
  return {{"empty", cuda::plan_bytes({}, {})}, {"pieces", cuda::plan_bytes(key, pieces)}};
}

}  // namespace

Target plan_file() {
  return {"plan_file", &run, &seeds};
}

}  // namespace takt::fuzz
