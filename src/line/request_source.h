// SPDX-License-Identifier: Apache-2.0
// Frames that other programs hand in, one by one, and whose verdicts they wait for.
// Thread-safe: FrameInlet from any thread; the source as Source.
// Owns: pictures that wait and the calls that wait for verdicts; the source its decode threads.
#pragma once

#include "core/image.h"
#include "core/result.h"
#include "core/time.h"
#include "image/decode.h"
#include "line/frame_reader.h"
#include "line/sink.h"
#include "line/source.h"
#include "memory/slot_pool.h"

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

namespace takt::line {

struct RequestOptions {
  std::vector<std::string> roles{"board"};  // of the pictures that each frame brings
  PixelFormat format = PixelFormat::gray8;  // what every image is decoded to
  double frames_per_second = 0;             // about how many come, for planning; 0: not known
  int decode_threads = 1;                   // 1..64
  int waiting_max = 16;                     // frames handed in and not with the line yet, 1..4096
  std::string recipe{};                     // of frames that name none
  ImageLimits limits{};
};

// A frame as it is handed in.
struct Submission {
  std::vector<EncodedImage> images;     // one a role, in any order
  std::shared_ptr<const void> content;  // what the images look into
  std::string part_id;                  // empty: the frame's name
  std::string recipe;                   // empty: the line's
  TimePoint captured;                   // when it was there; the deadline counts from here
};

// Called once: with the verdict, on the line's thread, or with the reason why the frame was not
// accepted after all (unavailable: the line is stopping). Must be quick. The record is valid during
// the call.
using FrameAnswer = std::move_only_function<void(Result<const VerdictRecord*>)>;

// Where frames are handed in. It sees the line's verdicts and brings each to whoever waits for it.
class FrameInlet : public VerdictObserver {
 public:
  // From here on the frame is answered, by `done`. A picture that can't be decoded is the frame's
  // damage, which the line judges. Errors, without a call of `done`: invalid_input (a role that is
  // missing, unknown or there twice), overloaded (waiting_max), unavailable (the line is stopping).
  [[nodiscard]] virtual Result<void> put(Submission submission, FrameAnswer done) = 0;
  [[nodiscard]] virtual const RequestOptions& options() const noexcept = 0;
};

struct RequestSource {
  std::unique_ptr<Source> source;
  std::shared_ptr<FrameInlet> inlet;  // to be an observer of the source's line, and to outlive it
};

// `line` names the frames: "<line>-<number>". `clock` must outlive both. Errors: invalid_input (a
// number out of range, no role, a role twice), out_of_memory (no thread).
[[nodiscard]] Result<RequestSource> make_request_source(const std::string& line,
                                                        RequestOptions options,
                                                        std::shared_ptr<SlotPool> pool,
                                                        const Clock& clock);

}  // namespace takt::line
