// Encode, decode, swap and generate sequences with a bundle that `sdkit export` made.
//
// Copy sdkit.hpp and sdkit.cpp into your application; see README.md beside them. Verbs, checks and messages are those
// of the Python runtime; docs/bundle.md describes the bundle. In shapes: B batch, T elements of a sequence, S static
// width, D dynamic width, *element the axes of one element. Every function throws a subclass of sdkit::Error.
#pragma once

#include <array>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>
#include <variant>
#include <vector>

namespace sdkit {

// Errors. Each message is one line: what is wrong, where, and what to do.

struct Error : std::runtime_error {
    using std::runtime_error::runtime_error;
};
struct ConfigError : Error {  // a setting that cannot be used
    using Error::Error;
};
struct CapabilityError : ConfigError {  // a verb that the model has not, or does not have online
    using ConfigError::ConfigError;
};
struct DataError : Error {  // sequences or codes of another shape, type or range
    using Error::Error;
};
struct FileFormatError : DataError {  // a file that is not what its reader expects
    using DataError::DataError;
};
struct MissingFileError : Error {  // a file or folder that is not there
    using Error::Error;
};
struct OutputExistsError : Error {  // nothing is overwritten unasked
    using Error::Error;
};
struct MissingExtraError : Error {  // no ONNX Runtime was found
    using Error::Error;
};
struct BundleError : Error {  // a bundle that must not be used
    using Error::Error;
};
struct ManifestError : BundleError {  // it does not parse, has unknown keys or was changed
    using BundleError::BundleError;
};
struct BundleVersionError : BundleError {  // of a version that is not read here
    using BundleError::BundleError;
};
struct BundlePathError : BundleError {  // an entry points outside the bundle
    using BundleError::BundleError;
};
struct BundleFileError : BundleError {  // a file of the bundle is missing
    using BundleError::BundleError;
};
struct DigestError : BundleError {  // a file's bytes are not those that were exported
    using BundleError::BundleError;
};

// Arrays.

using Shape = std::vector<std::int64_t>;
enum class DType { float32, uint8 };

// Returns text such as `(3, 64, 64)`.
std::string text(const Shape& shape);
// Returns `float32` or `uint8`.
std::string text(DType dtype);

// An array in row-major order that owns its values.
class Tensor {
public:
    Tensor() = default;
    // Throws DataError unless there are as many values as the shape says.
    Tensor(Shape shape, std::vector<float> values);
    Tensor(Shape shape, std::vector<std::uint8_t> values);

    const Shape& shape() const { return shape_; }
    DType dtype() const { return std::holds_alternative<std::vector<float>>(values_) ? DType::float32 : DType::uint8; }
    // Values of the wanted type; throws DataError where they are of the other.
    const std::vector<float>& floats() const;
    const std::vector<std::uint8_t>& bytes() const;
    // Number of values.
    std::size_t size() const;
    // Length of an axis; 0 where there is no such axis.
    std::int64_t axis(std::size_t number) const { return number < shape_.size() ? shape_[number] : 0; }
    // A copy of the rows first, ..., last - 1 of the first axis.
    Tensor rows(std::int64_t first, std::int64_t last) const;
    // Tensors that differ in their first axis alone, as one.
    static Tensor join(const std::vector<Tensor>& parts);

private:
    Shape shape_ = {0};
    std::variant<std::vector<float>, std::vector<std::uint8_t>> values_;
};

using Tensors = std::map<std::string, Tensor>;
using Inputs = std::map<std::string, std::reference_wrapper<const Tensor>>;

// The bundle.

// Kind, shape, type and units of one element of a sequence.
struct Element {
    std::string kind;  // image (C, H, W), series (W, F), spectrum (F) or vector (F)
    Shape shape;
    DType dtype = DType::float32;
    std::vector<std::string> units, feature_names;

    // Returns text such as `image (3, 64, 64) uint8`.
    std::string describe() const;
    // Throws DataError unless x is (B, T, *element) of the element's type and allowed values, B >= 1, T >= 2.
    void check(const Tensor& x, const std::string& where = "x") const;
    // Decoded values (float32, data units) in the data set's own type: uint8 is rounded and clipped.
    Tensor cast(const Tensor& x) const;
};

struct FileSpec {
    std::string path;  // relative to the bundle, with forward slashes
    std::string sha256;
    std::uint64_t size = 0;
};

struct GraphSpec {
    std::vector<std::string> inputs, outputs;  // names, in the order of the contract
    std::map<std::string, FileSpec> files;     // by format: onnx, torchscript
};

// Axes that the model fixes.
struct Widths {
    std::int64_t static_size = 0, dynamic_size = 0;  // S, D
    std::int64_t features = 0, context = 0;          // G, C: between graphs
    std::int64_t state = 0;                          // K: what a live stream keeps of its past
};

// What a model can do. A verb is encode, decode, reconstruct, swap, generate, resample_static, resample_dynamic or
// stream.
struct Abilities {
    std::string method;
    std::map<std::string, std::string> refusals;  // why it has not a verb, by verb
    std::optional<std::int64_t> max_steps;        // largest T that the prior draws; any where there is none

    // The verbs that it has.
    std::vector<std::string> verbs() const;
    // Throws CapabilityError, which says why, unless the model has a verb.
    void require(const std::string& verb) const;
    // Throws ConfigError unless the prior can draw so many steps.
    void require_steps(std::int64_t steps) const;
};

// What manifest.json says, as far as a host needs it; one of format 1 as one of today.
struct Manifest {
    Element element;
    Widths widths;
    Abilities abilities;
    std::string variant;     // of the method
    std::int64_t steps = 0;  // T of the training data; graphs take any T >= 2
    std::int64_t version = 0;
    std::string weights_sha256;  // names the model, whatever format it was exported to
    std::map<std::string, GraphSpec> graphs;
    std::map<std::string, FileSpec> files;

    // Names of the graphs, in the order of the data's way through them.
    std::vector<std::string> graph_names() const;
};

// The contract that this host follows, as JSON: tensors, graphs, verbs and kinds of elements.
std::string contract();
// What every kind of element is, by name.
struct Kind {
    std::vector<std::string> axes;    // of an element, such as C, H, W
    std::string plural;               // what several elements are called in a message
    std::vector<std::string> dtypes;  // that data may have
    bool pictorial = false;           // pixels: complete, float32 in 0..1
    bool incomplete = true;           // NaN stands for "not observed"
    bool presumed = true;             // a file of as many axes that names no kind is read as this one
};
const std::map<std::string, Kind>& kinds();

// A folder of exported graphs, checked before any graph is loaded: version, paths, sizes, SHA-256 digests.
class Bundle {
public:
    // Opens the bundle at `path` (or of the run there); that of the environment variable SDKIT_BUNDLE where it is
    // empty. Throws MissingFileError, or the subclass of BundleError that says what is wrong with it.
    static Bundle open(const std::filesystem::path& path = {});

    const std::filesystem::path& path() const { return path_; }
    const Manifest& manifest() const { return manifest_; }
    // The path of a graph in the format `onnx` or `torchscript`; throws BundleError where there is none.
    std::filesystem::path graph_file(const std::string& graph, const std::string& format) const;

private:
    Bundle(std::filesystem::path path, Manifest manifest) : path_(std::move(path)), manifest_(std::move(manifest)) {}
    std::filesystem::path path_;
    Manifest manifest_;
};

// Returns the SHA-256 of bytes, as 64 hexadecimal digits.
std::string sha256(const std::string& bytes);

// Noise that every host draws alike: Philox 4x64-10 and the Box-Muller transform (docs/bundle.md, "Noise").

enum class Purpose : std::uint64_t { static_prior, dynamic_prior, static_posterior, dynamic_posterior };

// Returns the block of four outputs for a counter.
std::array<std::uint64_t, 4> philox(std::array<std::uint64_t, 2> key, std::array<std::uint64_t, 4> counter);
// Returns noise of a shape (B, ...) for the sequences number first, first + 1, ...
Tensor standard_normal(std::uint64_t seed, Purpose purpose, std::uint64_t first, const Shape& shape);

// Running it.

// Runs graphs. One may be used from several threads at once.
class Backend {
public:
    virtual ~Backend() = default;
    virtual std::string name() const = 0;
    virtual Tensors run(const std::string& graph, const Inputs& inputs) const = 0;
};

struct Options {
    int threads = 0;                    // of one operator; 0: every processor that this process may use
    std::int64_t batch_size = 64;       // sequences that run at a time
    std::filesystem::path onnxruntime;  // the shared library; see `onnx_backend`
};

// Opens the ONNX graphs, which run on the CPU. The library is options.onnxruntime, else that of the environment
// variable SDKIT_ONNXRUNTIME, else the libonnxruntime that the system's loader finds; any release since 1.14 will do.
// Throws MissingExtraError (no library), BundleError (no such graphs, or they cannot be loaded).
std::unique_ptr<Backend> onnx_backend(const Bundle& bundle, const Options& options = {});

// The split of a batch of sequences. (`static` alone is a word of the language.)
struct Codes {
    Tensor static_;  // (B, S) float32
    Tensor dynamic;  // (B, T, D) float32
};

// What is known of one element of every stream.
struct Step {
    Tensor static_;  // (B, S); the same at every element of a stream
    Tensor dynamic;  // (B, D)
    Tensor x;        // the reconstruction, (B, *element) float32 in data units
};

// B live streams that advance together, an element each at a time; made by `Runtime::stream`, whose backend must
// outlive them. What they give is what encode and reconstruct give for the whole sequences.
class Stream {
public:
    // Throws CapabilityError for a model that cannot run online, ConfigError for a batch below 1.
    Stream(const Manifest& manifest, const Backend& backend, std::int64_t batch = 1);

    // Returns codes and reconstruction of the next element of every stream; the first is the anchor. x is (B, *element)
    // in the data set's type and units; throws DataError unless it is.
    Step push(const Tensor& x);
    // Lets streams begin anew, all or some: their next element is an anchor. Throws ConfigError where there is no such
    // stream.
    void reset();
    void reset(const std::vector<std::int64_t>& rows);

    std::int64_t batch() const { return state_.axis(0); }
    // (B, K), a row a stream. Zeros begin a stream; a row that is kept and put back later continues it, here or in
    // another batch.
    const Tensor& state() const { return state_; }
    // Throws DataError unless it is (B, K) float32; B may be another than before.
    void set_state(Tensor state);

private:
    Element element_;
    std::map<std::string, GraphSpec> graphs_;
    const Backend* backend_;
    Tensor state_;
};

// The verbs. Sequences are (B, T, *element) in the data set's type and units, decoded ones float32 in the same units
// (`element().cast` turns them into the data set's type). Any B will do: work is cut into batches. A verb that the
// model has not is a CapabilityError, more steps than its prior draws a ConfigError.
class Runtime {
public:
    static Runtime open(const std::filesystem::path& bundle = {}, const Options& options = {});
    // Throws ConfigError for a batch size below 1.
    Runtime(Bundle bundle, std::unique_ptr<Backend> backend, std::int64_t batch_size = Options().batch_size);

    const Bundle& bundle() const { return bundle_; }
    const Manifest& manifest() const { return bundle_.manifest(); }
    const Element& element() const { return manifest().element; }
    const Abilities& abilities() const { return manifest().abilities; }
    const Backend& backend() const { return *backend_; }
    std::int64_t batch_size() const { return batch_size_; }

    // Returns the means of the codes, or with a seed a sample of the posterior. `first` is the number of the first
    // sequence, which selects its noise.
    Codes encode(const Tensor& x, std::optional<std::uint64_t> seed = std::nullopt, std::uint64_t first = 0) const;
    // Returns the sequences (B, T, *element) of codes.
    Tensor decode(const Codes& codes) const;
    // Returns all that the decoder says: `x`, and of series `x_std`.
    Tensors decode_outputs(const Codes& codes) const;
    Tensor reconstruct(const Tensor& x) const;
    // Returns a's static code with b's dynamic codes, and b's static code with a's dynamic codes; T may differ.
    std::pair<Tensor, Tensor> swap(const Tensor& a, const Tensor& b) const;
    // Returns sequences whose codes are drawn from the prior; the same seed gives the same ones in every host.
    Tensor generate(std::int64_t count, std::int64_t steps = 8, std::uint64_t seed = 0, std::uint64_t first = 0) const;
    // Returns x with one of its codes drawn from the prior.
    Tensor resample_static(const Tensor& x, std::uint64_t seed = 0, std::uint64_t first = 0) const;
    Tensor resample_dynamic(const Tensor& x, std::uint64_t seed = 0, std::uint64_t first = 0) const;
    // Returns live streams; throws CapabilityError for a model that cannot run online, ConfigError for a batch below 1.
    Stream stream(std::int64_t batch = 1) const { return {manifest(), *backend_, batch}; }

private:
    Codes encode_part(Tensor x, std::optional<std::uint64_t> seed, std::uint64_t first) const;
    Tensors decode_part(const Tensor& static_, const Tensor& dynamic) const;
    Tensor each_clip(std::int64_t count, const std::function<Tensor(std::int64_t, std::int64_t)>& make) const;
    Tensor run(const char* verb, Tensors pool) const;
    Tensor static_prior(std::int64_t count, std::uint64_t seed, std::uint64_t first) const;
    Tensor dynamic_noise(Purpose purpose, std::int64_t count, std::int64_t steps, std::uint64_t seed,
                         std::uint64_t first) const;
    void check_codes(const Codes& codes) const;

    Bundle bundle_;
    std::unique_ptr<Backend> backend_;
    std::int64_t batch_size_;
};

}  // namespace sdkit
