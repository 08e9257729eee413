// SPDX-License-Identifier: Apache-2.0
#include "server/http/compression.h"

#include <boost/algorithm/string/case_conv.hpp>
#include <boost/algorithm/string/predicate.hpp>
#include <boost/algorithm/string/trim.hpp>
#include <fmt/format.h>
#include <zlib.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <limits>

namespace takt::server::http {
namespace {

constexpr int kWindowBits = 15;
constexpr int kGzipBits = kWindowBits + 16;
constexpr int kMemoryLevel = 8;
constexpr std::size_t kPieceBytes = std::size_t{64} << 10;

class Inflater {
 public:
  explicit Inflater(int window_bits)
      : members_(window_bits == kGzipBits), ready_(::inflateInit2(&stream_, window_bits) == Z_OK) {}
  ~Inflater() {
    if (ready_) ::inflateEnd(&stream_);
  }
  Inflater(const Inflater&) = delete;
  Inflater& operator=(const Inflater&) = delete;

  ApiResult<std::string> run(std::string_view body, std::size_t bytes_max) {
    if (!ready_) return refuse(ApiCode::resource_exhausted, "no memory to decompress the body");
    std::string whole;
    std::array<char, kPieceBytes> piece;
    stream_.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(body.data()));
    stream_.avail_in = static_cast<uInt>(body.size());
    while (true) {
      stream_.next_out = reinterpret_cast<Bytef*>(piece.data());
      stream_.avail_out = static_cast<uInt>(piece.size());
      const int status = ::inflate(&stream_, Z_NO_FLUSH);
      const std::size_t got = piece.size() - stream_.avail_out;
      if (got > bytes_max - whole.size()) {
        return refuse(ApiCode::payload_too_large,
                      fmt::format("the body has more than {} bytes, decompressed", bytes_max));
      }
      whole.append(piece.data(), got);
      if (status == Z_STREAM_END && stream_.avail_in == 0) return whole;
      if (status == Z_STREAM_END && members_ && ::inflateReset(&stream_) == Z_OK) continue;
      if (status != Z_OK || (got == 0 && stream_.avail_in == 0)) {
        return refuse(ApiCode::invalid_argument,
                      "the body can't be decompressed: it is damaged, cut off, or not of its "
                      "Content-Encoding");
      }
    }
  }

 private:
  z_stream stream_{};
  const bool members_;  // another may follow the end of one, as in RFC 1952
  const bool ready_;
};

// The parameters of an entry of Accept-Encoding, "; q=0.000".
bool has_quality_zero(std::string_view parameters) {
  const std::string lower = boost::to_lower_copy(std::string(parameters));
  const std::size_t quality = lower.find("q=");
  return quality != std::string::npos && std::strtod(lower.c_str() + quality + 2, nullptr) == 0;
}

}  // namespace

std::optional<Coding> parse_coding(std::string_view name) {
  if (name.empty() || boost::iequals(name, "identity")) return Coding::identity;
  if (boost::iequals(name, "gzip") || boost::iequals(name, "x-gzip")) return Coding::gzip;
  if (boost::iequals(name, "deflate")) return Coding::deflate;
  return std::nullopt;
}

Coding choose_coding(std::string_view accepted) {
  while (!accepted.empty()) {
    const std::size_t end = std::min(accepted.find(','), accepted.size());
    const std::string_view entry = accepted.substr(0, end);
    accepted.remove_prefix(std::min(end + 1, accepted.size()));
    const std::size_t semicolon = std::min(entry.find(';'), entry.size());
    if (has_quality_zero(entry.substr(semicolon))) continue;
    const std::string name = boost::trim_copy(std::string(entry.substr(0, semicolon)));
    const auto coding = name.empty() ? std::nullopt : parse_coding(name);
    if (coding && *coding != Coding::identity) return *coding;
  }
  return Coding::identity;
}

std::string_view to_string(Coding coding) noexcept {
  return coding == Coding::gzip ? "gzip" : coding == Coding::deflate ? "deflate" : "identity";
}

ApiResult<std::string> decompress(std::string_view body, Coding coding, std::size_t bytes_max) {
  if (body.size() > std::numeric_limits<uInt>::max()) {
    return refuse(ApiCode::payload_too_large, "a compressed body of 4 GiB or more");
  }
  if (coding == Coding::gzip) return Inflater(kGzipBits).run(body, bytes_max);
  // The first byte of zlib's header names the method, 8, in its lower half.
  const bool with_header =
      !body.empty() && (static_cast<unsigned char>(body[0]) & 0xfU) == 8 && body.size() > 1 &&
      (static_cast<unsigned char>(body[0]) * 256U + static_cast<unsigned char>(body[1])) % 31U == 0;
  return Inflater(with_header ? kWindowBits : -kWindowBits).run(body, bytes_max);
}

std::string compress(std::span<const std::string_view> parts, Coding coding) {
  z_stream stream{};
  std::string whole;
  if (::deflateInit2(&stream, Z_BEST_SPEED, Z_DEFLATED,
                     coding == Coding::gzip ? kGzipBits : kWindowBits, kMemoryLevel,
                     Z_DEFAULT_STRATEGY) != Z_OK) {
    return whole;
  }
  std::array<char, kPieceBytes> piece;
  const auto run = [&](std::string_view part, int flush) {
    stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(part.data()));
    stream.avail_in = static_cast<uInt>(part.size());
    do {
      stream.next_out = reinterpret_cast<Bytef*>(piece.data());
      stream.avail_out = static_cast<uInt>(piece.size());
      ::deflate(&stream, flush);
      whole.append(piece.data(), piece.size() - stream.avail_out);
    } while (stream.avail_out == 0);
  };
  for (const std::string_view part : parts) run(part, Z_NO_FLUSH);
  run({}, Z_FINISH);
  ::deflateEnd(&stream);
  return whole;
}

}  // namespace takt::server::http
