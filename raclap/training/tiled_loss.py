"""The contrastive loss tile by tile: values and gradients of the plain form, without a B x B matrix.

The loss is the last node of the graph, so its gradients are computed along with it. The first pass over the tiles
finds the normalisers of all rows and columns. The second computes each tile again, turns it into probabilities and
adds up the loss and the gradients. That takes four products of B x B x D for InfoNCE and six with a teacher; the plain
form takes three and four, but writes and reads whole matrices many times over.

Each process works on the rows of its own clips against all captions. Every tensor here lies on one device and has one
precision; `_Softmax` and `_Totals` keep pairs of things in the order of directions, audio → text (rows) and text →
audio (columns).

Shapes: b pairs on this process, B pairs on all processes, D joint size, r rows and c columns of a tile, s stripes
(columns that are worked on together).
"""

import math
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import torch
import torch.distributed
from torch import Tensor
from torch.autograd.function import once_differentiable

from raclap.training.distributed import gather, process_count, process_index
from raclap.training.relations import EXPONENT_SPAN, Relation

# Highest rows and columns of a tile. On a CPU its copies stay in the cache of one core.
_CPU_TILE, _CUDA_TILE = (256, 512), (512, 8192)
# Narrower products waste a core's time.
_NARROWEST = 64


@dataclass(frozen=True)
class Weights:
    """What each term of the loss counts.

    Attributes:
        relation: of the mean over both directions of the divergence from the relation's targets.
        identity: of InfoNCE.
        symmetric: InfoNCE has both directions, in half weight each; False keeps audio → text in full.
    """

    relation: float = 1.0
    identity: float = 1.0
    symmetric: bool = True

    @property
    def divergence(self) -> float:
        """Of each direction's divergence."""
        return self.relation / 2

    @property
    def cross_entropies(self) -> tuple[float, float]:
        """Of each direction's cross-entropy with the pairs."""
        return (self.identity / 2, self.identity / 2) if self.symmetric else (self.identity, 0.0)

    @property
    def student(self) -> tuple[float, float]:
        """Of each direction's log-normalisers of the student, which both terms hold."""
        return tuple(self.divergence + weight for weight in self.cross_entropies)


def tiled_loss(
    audio: Tensor,
    text: Tensor,
    audio_scale: Tensor,
    text_scale: Tensor,
    relation: Relation | None,
    weights: Weights,
    tile: tuple[int, int] | None = None,
) -> tuple[Tensor, Tensor | None]:
    """Loss and target entropy of the global batch; memory is O(B · D) and one row of tiles.

    Args:
        audio: (b, D) unit rows. Rows of other lengths are right too, but may need the slower exponentials.
        text: (b, D) unit rows.
        audio_scale: scalar, of audio → text.
        text_scale: scalar, of text → audio.
        relation: of the B pairs; None for InfoNCE.
        weights: of the terms; that of the relation is 0 without one.
        tile: rows and columns of a tile; None takes what suits the device.

    Returns:
        Scalars; the entropy, in nats, has no gradient and is None without a relation. Gradients with respect to the
        embeddings are the number of processes times those of the loss: DDP divides by it.

    Source: RA-CLAP Eqs. (3) and (4)-(7), as in `contrastive_loss`.
    """
    inputs = (audio, text, audio_scale, text_scale)
    with_gradients = torch.is_grad_enabled() and any(tensor.requires_grad for tensor in inputs)
    return _TiledLoss.apply(*inputs, relation, weights, tile, with_gradients)


class _TiledLoss(torch.autograd.Function):
    """Computes the gradients in forward and scales them in backward."""

    @staticmethod
    def forward(ctx, audio, text, audio_scale, text_scale, relation, weights, tile, with_gradients):
        """See `tiled_loss`."""
        tile = tile or (_CPU_TILE if audio.device.type == "cpu" else _CUDA_TILE)
        scales = (audio_scale.item(), text_scale.item())
        with _workers(audio.device) as workers:
            batch = _Batch(audio.detach(), text.detach(), scales, relation, weights, tile, workers)
            moments, embed_gradients = batch.evaluate(with_gradients)
        totals = batch.totals(moments)
        entropy = None
        if relation is not None:
            entropy = totals.entropy()
            ctx.mark_non_differentiable(entropy)
        if with_gradients:
            by_scale = totals.scale_gradients(weights)
            ctx.save_for_backward(*embed_gradients, by_scale[0].view_as(audio_scale), by_scale[1].view_as(text_scale))
        return totals.loss(weights, scales), entropy

    @staticmethod
    @once_differentiable
    def backward(ctx, grad_loss, _):
        """Gradients of the four tensors."""
        gradients = ctx.saved_tensors
        # The usual factor is 1: a copy of the gradients of all embeddings would double the memory.
        if grad_loss != 1:
            gradients = [gradient * grad_loss for gradient in gradients]
        return *gradients, None, None, None, None


class _Softmax:
    """Softmax of one matrix along its rows and along its columns, tile by tile.

    Args:
        scales: factors of the matrix in the softmax of rows and in that of columns.
        bound: upper bound of the matrix.
        safe: whether sums of exp(scale · (value - bound)) stay above 0. Else each exponential has a shift of its own.

    Attributes:
        normalisers: log-sum-exp of the rows of this process (b,) and of the columns over all processes (B,), known
            after `start`, `add` for each tile, and `finish`.
    """

    def __init__(self, scales: tuple[float, float], bound: float, safe: bool):
        self._scales, self._safe = scales, safe
        self._references = tuple(abs(scale) * bound for scale in scales)
        self._one_exponential = safe and scales[0] == scales[1]

    def start(self, b: int, B: int, stripes: int, like: Tensor) -> None:
        """Makes what `add` adds to: sums of rows (s, b), a part for each stripe, and of columns (B,)."""
        nothing = 0.0 if self._safe else -torch.inf
        self._sums = like.new_full((stripes, b), nothing), like.new_full((B,), nothing)

    def add(self, values: Tensor, stripe: int, rows: slice, columns: slice, spare: Tensor) -> None:
        """Counts a tile in; values and spare are (r, c), spare is overwritten."""
        row_sums, column_sums = self._sums[0][stripe, rows], self._sums[1][columns]
        if not self._safe:
            row_sums.copy_(torch.mul(values, self._scales[0], out=spare).logsumexp(1))
            added = torch.mul(values, self._scales[1], out=spare).logsumexp(0)
            torch.logaddexp(column_sums, added, out=column_sums)
            return
        torch.sum(self._exponential(values, 0, spare), 1, out=row_sums)
        if not self._one_exponential:
            self._exponential(values, 1, spare)
        column_sums += spare.sum(0)

    def finish(self) -> None:
        """Turns the sums, in which all tiles of this process are, into normalisers."""
        row_sums, column_sums = self._sums
        del self._sums
        if self._safe:
            sums = row_sums.sum(0), _reduce(column_sums)
            self.normalisers = tuple(total.log_() + shift for total, shift in zip(sums, self._references, strict=True))
        else:
            highest = _reduce(column_sums.clone(), "max")
            column_sums = _reduce((column_sums - highest).exp_()).log_() + highest
            self.normalisers = row_sums.logsumexp(0), column_sums

    def probabilities(self, values: Tensor, rows: slice, columns: slice, out: tuple[Tensor, Tensor]) -> None:
        """Writes the softmax along rows and along columns of a tile (r, c) to two buffers (r, c)."""
        by_row, by_column = out
        row_normalisers, column_normalisers = self.normalisers[0][rows].unsqueeze(1), self.normalisers[1][columns]
        if self._one_exponential:
            self._exponential(values, 0, by_row)
            torch.mul(by_row, (self._references[1] - column_normalisers).exp_(), out=by_column)
            by_row *= (self._references[0] - row_normalisers).exp_()
        else:
            torch.mul(values, self._scales[0], out=by_row).sub_(row_normalisers).exp_()
            torch.mul(values, self._scales[1], out=by_column).sub_(column_normalisers).exp_()

    def _exponential(self, values: Tensor, direction: int, out: Tensor) -> Tensor:
        return torch.mul(values, self._scales[direction], out=out).sub_(self._references[direction]).exp_()


class _Batch:
    """The clips of this process against all captions.

    Args:
        audio: (b, D).
        text: (b, D).
        scales: of rows and of columns.
        relation: of the B pairs.
        weights: of the terms of the loss.
        tile: highest rows and columns.
        workers: who do independent pieces of work.
    """

    def __init__(
        self,
        audio: Tensor,
        text: Tensor,
        scales: tuple[float, float],
        relation: Relation | None,
        weights: Weights,
        tile: tuple[int, int],
        workers: "_Workers",
    ):
        self._audio, self._own_text, self._text = audio.contiguous(), text, gather(text)
        self._b, self._B = len(audio), len(self._text)
        self._scales, self._relation, self._weights = scales, relation, weights
        self._blocks = _slices(self._b, tile[0])
        self._stripes = _slices(self._B, workers.even_share(self._B, tile[1]))
        self._workers = workers
        self._buffers = _Buffers(tile, audio)
        bound = _reduce(_longest(audio) * _longest(text), "max").item()
        safe = 2 * max(map(abs, scales)) * bound < EXPONENT_SPAN
        self._student = _Softmax(scales, bound, safe)
        self._teacher = None
        if relation is not None:
            self._teacher = _Softmax((1.0, 1.0), relation.reference, relation.exp_is_safe)

    def evaluate(self, with_gradients: bool) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Both passes.

        Returns:
            Moments of this process's stripes (s, 4, 2), see `_weigh`, and the gradients with respect to its clips and
            captions, (b, D) each, or nothing.
        """
        self._normalise(self._student, self._cosines)
        if self._teacher:
            self._normalise(self._teacher, self._related)
        moments = self._audio.new_zeros(len(self._stripes), 4, 2)
        if with_gradients:
            return moments, self._differentiate(moments)
        if self._teacher:
            for rows in self._blocks:
                self._workers.run(partial(self._weigh, moments, None, rows), range(len(self._stripes)))
        return moments, ()

    def totals(self, moments: Tensor) -> "_Totals":
        """Sums over all processes."""
        student = self._student.normalisers
        teacher = self._teacher.normalisers if self._teacher else tuple(map(torch.zeros_like, student))
        gap = tuple(of_student - of_teacher for of_student, of_teacher in zip(student, teacher, strict=True))
        normalisers = torch.stack(
            [torch.stack([rows.sum(), columns.sum()]) for rows, columns in (student, teacher, gap)]
        )
        if process_index() > 0:
            # Rows are this process's own, columns everyone's: one process counts them.
            normalisers[:, 1] = 0
        pairs = (self._audio * self._own_text).sum().expand(1, 2)
        return _Totals(*_reduce(torch.cat([moments.sum(0), normalisers, pairs])), pairs_in_batch=self._B)

    def _cosines(self, rows: slice, columns: slice, out: Tensor) -> Tensor:
        return torch.mm(self._audio[rows], self._text[columns].T, out=out)

    def _related(self, rows: slice, columns: slice, _: Tensor | None = None) -> Tensor:
        first = process_index() * self._b
        return self._relation.logits(slice(first + rows.start, first + rows.stop), columns).to(self._audio.dtype)

    def _normalise(self, softmax: _Softmax, values: Callable[[slice, slice, Tensor], Tensor]) -> None:
        """First pass over one matrix, whose tiles `values` gives."""
        softmax.start(self._b, self._B, len(self._stripes), like=self._audio)

        def add_stripe(number: int) -> None:
            columns = self._stripes[number]
            for rows in self._blocks:
                tile, spare, *_ = self._buffers.tiles(rows, columns)
                softmax.add(values(rows, columns, tile), number, rows, columns, spare)

        self._workers.run(add_stripe, range(len(self._stripes)))
        softmax.finish()

    def _differentiate(self, moments: Tensor) -> tuple[Tensor, Tensor]:
        """Second pass: fills the moments and returns the gradients (b, D) of clips and captions."""
        by_audio, by_text = torch.empty_like(self._audio), torch.zeros_like(self._text)
        row_of_tiles = self._audio.new_empty(self._blocks[0].stop, self._B)
        D = self._audio.shape[1]
        dimensions = _slices(D, max(_NARROWEST, self._workers.even_share(D, D)))

        def stripe(rows: slice, number: int) -> None:
            columns = self._stripes[number]
            tile = row_of_tiles[: rows.stop - rows.start, columns]
            self._weigh(moments, tile, rows, number)
            by_text[columns].addmm_(tile.T, self._audio[rows])

        def part(rows: slice, dimensions: slice) -> None:
            row = row_of_tiles[: rows.stop - rows.start]
            torch.mm(row, self._text[:, dimensions], out=by_audio[rows, dimensions])

        # One thread at a time has a stripe of captions, and then some dimensions of the clips: sums need no lock, and
        # they come out the same every time.
        for rows in self._blocks:
            self._workers.run(partial(stripe, rows), range(len(self._stripes)))
            self._workers.run(partial(part, rows), dimensions)
        return self._finish_gradients(by_audio, by_text)

    def _finish_gradients(self, by_audio: Tensor, by_text: Tensor) -> tuple[Tensor, Tensor]:
        """Adds the pull between the two of a pair, which InfoNCE has in closed form, and takes the mean."""
        pull = sum(w * scale for w, scale in zip(self._weights.cross_entropies, self._scales, strict=True))
        by_text = _sum_of_own_rows(by_text)
        factor = process_count() / self._B
        by_audio.sub_(self._own_text, alpha=pull).mul_(factor)
        by_text.sub_(self._audio, alpha=pull).mul_(factor)
        return by_audio, by_text

    def _weigh(self, moments: Tensor, gradient: Tensor | None, rows: slice, number: int) -> None:
        """Second pass over one tile.

        Args:
            moments: (s, 4, 2), of which the stripe's are added to, for each direction: the means under the student of
                the cosines, under the teacher of the cosines, of its own logits, and of its logits less the student's.
            gradient: (r, c) to write the gradient with respect to the cosines to, times B, without InfoNCE's pull.
            rows: of the tile, among this process's.
            number: of the stripe.
        """
        columns, of_stripe = self._stripes[number], moments[number]
        cosines, spare, *out = self._buffers.tiles(rows, columns)
        self._cosines(rows, columns, cosines)
        if gradient is not None:
            self._student.probabilities(cosines, rows, columns, out)
            gradient.zero_()
            for d, (weight, scale) in enumerate(zip(self._weights.student, self._scales, strict=True)):
                gradient.add_(out[d], alpha=weight * scale)
                of_stripe[0, d] += _inner(out[d], cosines)
        if self._teacher is None:
            return
        related = self._related(rows, columns)
        self._teacher.probabilities(related, rows, columns, out)
        for d, scale in enumerate(self._scales):
            of_stripe[1, d] += _inner(out[d], cosines)
            of_stripe[2, d] += _inner(out[d], related)
            of_stripe[3, d] += _inner(out[d], torch.sub(related, cosines, alpha=scale, out=spare))
            if gradient is not None:
                gradient.sub_(out[d], alpha=self._weights.divergence * scale)


@dataclass(frozen=True)
class _Totals:
    """Sums over the global batch, (2,) each, one value a direction.

    Attributes:
        student_cosines: of cosines under the student's probabilities.
        teacher_cosines: of cosines under the teacher's.
        teacher_logits: of the teacher's logits under its own.
        logit_gaps: of the teacher's logits less the student's, under the teacher's.
        student_normalisers, teacher_normalisers: log-sum-exps.
        normaliser_gaps: of the student's less the teacher's. Gaps are summed by themselves, since of a student near
            its teacher the difference of two large sums would be rounding.
        pair_cosines: of the pairs' cosines, the same for both directions.
        pairs_in_batch: B.
    """

    student_cosines: Tensor
    teacher_cosines: Tensor
    teacher_logits: Tensor
    logit_gaps: Tensor
    student_normalisers: Tensor
    teacher_normalisers: Tensor
    normaliser_gaps: Tensor
    pair_cosines: Tensor
    pairs_in_batch: int

    def loss(self, weights: Weights, scales: tuple[float, float]) -> Tensor:
        """The loss, a scalar."""
        divergences = self.logit_gaps + self.normaliser_gaps
        cross_entropies = self.student_normalisers - self._both(scales) * self.pair_cosines
        terms = weights.divergence * divergences + self._both(weights.cross_entropies) * cross_entropies
        return terms.sum() / self.pairs_in_batch

    def entropy(self) -> Tensor:
        """Mean entropy of the targets of both directions, a scalar."""
        return (self.teacher_normalisers - self.teacher_logits).sum() / (2 * self.pairs_in_batch)

    def scale_gradients(self, weights: Weights) -> Tensor:
        """(2,) gradients with respect to the scales."""
        return (
            self._both(weights.student) * self.student_cosines
            - weights.divergence * self.teacher_cosines
            - self._both(weights.cross_entropies) * self.pair_cosines
        ) / self.pairs_in_batch

    def _both(self, values: tuple[float, float]) -> Tensor:
        return self.pair_cosines.new_tensor(values)


class _Buffers:
    """Tiles to write to, which each thread keeps for the whole computation."""

    def __init__(self, tile: tuple[int, int], like: Tensor):
        self._size, self._like = tile[0] * tile[1], like
        self._own = threading.local()

    def tiles(self, rows: slice, columns: slice) -> list[Tensor]:
        """Four contiguous tiles (r, c); whoever asks again in the same thread gets the same memory."""
        if not hasattr(self._own, "memory"):
            self._own.memory = self._like.new_empty(4, self._size)
        shape = rows.stop - rows.start, columns.stop - columns.start
        return [flat[: shape[0] * shape[1]].view(shape) for flat in self._own.memory]


@dataclass(frozen=True)
class _Workers:
    """Threads that share out independent pieces of work.

    Attributes:
        count: number of threads.
        run: applies a function to all items.
    """

    count: int
    run: Callable[[Callable, Iterable], None]

    def even_share(self, length: int, highest: int) -> int:
        """Size of pieces, at most `highest`, of which each worker gets equally many."""
        rounds = math.ceil(length / (highest * self.count))
        return math.ceil(length / (rounds * self.count))


@contextmanager
def _workers(device: torch.device) -> Iterator[_Workers]:
    """On a CPU as many as torch has threads, each of which computes alone.

    Many small operations that share all cores wait for one another at the end of each, which on a machine with other
    work to do takes several times as long.
    """
    threads = torch.get_num_threads() if device.type == "cpu" else 1
    if threads == 1:
        yield _Workers(1, lambda work, items: deque(map(work, items), maxlen=0))
        return
    # These modes belong to a thread, so new threads must be told.
    inference = torch.is_inference_mode_enabled()

    def in_thread(work: Callable, item: object) -> None:
        with torch.inference_mode(inference), torch.no_grad():
            work(item)

    try:
        with ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            yield _Workers(threads, lambda work, items: deque(pool.map(partial(in_thread, work), items), maxlen=0))
    finally:
        torch.set_num_threads(threads)


def _slices(length: int, size: int) -> list[slice]:
    return [slice(start, min(start + size, length)) for start in range(0, length, size)]


def _inner(a: Tensor, b: Tensor) -> Tensor:
    return torch.dot(a.flatten(), b.flatten())


def _longest(embeds: Tensor) -> Tensor:
    return embeds.norm(dim=1).max()


def _reduce(tensor: Tensor, how: str = "sum") -> Tensor:
    """Sum or maximum over processes, in place."""
    if process_count() > 1:
        operations = {"sum": torch.distributed.ReduceOp.SUM, "max": torch.distributed.ReduceOp.MAX}
        torch.distributed.all_reduce(tensor, operations[how])
    return tensor


def _sum_of_own_rows(parts: Tensor) -> Tensor:
    """Sum over processes of (B, D), of which each gets its own rows (b, D)."""
    if process_count() == 1:
        return parts
    own = parts.new_empty(len(parts) // process_count(), parts.shape[1])
    torch.distributed.reduce_scatter_tensor(own, parts)
    return own
