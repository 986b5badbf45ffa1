"""The first stage of ``align``: a query transformer learns to say of an image what its report says.

Three losses share the layers, as in BLIP-2 (Li et al., ICML 2023): contrastive (queries and text apart), matching
(queries and text see each other) and language modelling (text sees the queries and its own past).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import Blip2QFormerConfig, PreTrainedModel
from transformers import initialization as init
from transformers.utils.generic import ModelOutput

from radialog_model.align.configuration import AlignStage1Config
from radialog_model.align.distributed import gather, gather_padded, mean_over_all, shared_seed, world
from radialog_model.align.losses import draw_negatives, similarity, soft_cross_entropy
from radialog_model.biovil import BioViLTConfig, BioViLTModel
from radialog_model.qformer import QueryTransformer

IGNORED = -100


class TextEmbeddings(nn.Module):
    """Words and positions, not yet normalised; the query transformer normalises them together with the queries."""

    def __init__(self, config: Blip2QFormerConfig) -> None:
        super().__init__()
        self.words = nn.Embedding(config.vocab_size, config.hidden_size, padding_idx=config.pad_token_id)
        self.positions = nn.Embedding(config.max_position_embeddings, config.hidden_size)

    def forward(self, ids: Tensor) -> Tensor:
        """Return [batch, tokens, hidden] of ids [batch, tokens]."""
        embedded: Tensor = self.words(ids) + self.positions(torch.arange(ids.shape[1], device=ids.device))
        return embedded


class LanguageHead(nn.Module):
    """BERT's prediction head; its output layer is the table of words."""

    def __init__(self, config: Blip2QFormerConfig) -> None:
        super().__init__()
        self.dense = nn.Linear(config.hidden_size, config.hidden_size)
        self.norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.bias = nn.Parameter(torch.zeros(config.vocab_size))

    def forward(self, hidden: Tensor, words: Tensor) -> Tensor:
        """Return logits [..., vocabulary] of hidden states [..., hidden]."""
        return functional.linear(self.norm(functional.gelu(self.dense(hidden))), words, self.bias)


@dataclass
class Stage1Output(ModelOutput):
    """Losses of a batch; ``loss`` is their sum.

    Attributes:
        loss: What is minimised.
        contrastive: Image-text contrastive loss.
        matching: Image-text matching loss.
        language: Language modelling loss.
    """

    loss: Tensor | None = None
    contrastive: Tensor | None = None
    matching: Tensor | None = None
    language: Tensor | None = None


class AlignStage1Model(PreTrainedModel):
    """Tower, query transformer with its text branch, and the heads of the three losses."""

    config_class = AlignStage1Config
    config: AlignStage1Config
    base_model_prefix = "stage1"
    main_input_name = "pixel_values"
    _supports_sdpa = True
    accepts_loss_kwargs = False

    def __init__(self, config: AlignStage1Config) -> None:
        super().__init__(config)
        shape, tower = config.qformer_config, config.vision_config
        assert isinstance(shape, Blip2QFormerConfig)
        assert isinstance(tower, BioViLTConfig)
        self.vision_tower = BioViLTModel(tower)
        self.query_transformer = QueryTransformer(
            shape,
            num_queries=config.num_query_tokens,
            patch_width=tower.hidden_size,
            released_bugs=config.released_bugs,
        )
        self.text_embeddings = TextEmbeddings(shape)
        self.language_head = LanguageHead(shape)
        self.image_projection = nn.Linear(shape.hidden_size, config.projection_dim)
        self.text_projection = nn.Linear(shape.hidden_size, config.projection_dim)
        self.matching_head = nn.Linear(shape.hidden_size, 2)
        self.temperature = nn.Parameter(torch.tensor(config.temperature))
        self.post_init()  # type: ignore[no-untyped-call]
        self.train()

    def train(self, mode: bool = True) -> AlignStage1Model:
        """Switch the mode; a frozen tower stays in evaluation mode and gets no gradients."""
        super().train(mode)
        if self.config.freeze_tower:
            self.vision_tower.eval()  # type: ignore[no-untyped-call]
            self.vision_tower.requires_grad_(False)
        return self

    def patches(self, pixel_values: Tensor) -> Tensor:
        """Return the tower's patches [batch, patches, width] of images [batch, 3, size, size]."""
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.config.freeze_tower):
            output: Tensor = self.vision_tower(pixel_values).last_hidden_state
        return output

    def image_features(self, queries: Tensor) -> Tensor:
        """Return [batch, queries, projection_dim], normalised, of the queries behind the last layer."""
        return functional.normalize(self.image_projection(queries), dim=-1)

    def text_features(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Return [batch, projection_dim], normalised: the first token behind the last layer, without the image."""
        hidden = self.query_transformer.text_alone(self.text_embeddings(ids), mask)
        return functional.normalize(self.text_projection(hidden[:, 0]), dim=-1)

    def matching_logits(self, patches: Tensor, ids: Tensor, mask: Tensor) -> Tensor:
        """Return [batch, 2]: the mean over queries of "no match" and "match"."""
        queries, _ = self.query_transformer.with_text(patches, self.text_embeddings(ids), mask, "bidirectional")
        logits: Tensor = self.matching_head(queries).mean(1)
        return logits

    def language_loss(self, hidden: Tensor, ids: Tensor, mask: Tensor) -> Tensor:
        """Return the loss of each next token, averaged over the tokens of all processes.

        Args:
            hidden: [batch, tokens, hidden], the text behind the last layer under the multimodal-causal mask.
            ids: [batch, tokens].
            mask: [batch, tokens].
        """
        logits = self.language_head(hidden[:, :-1], self.text_embeddings.words.weight)
        targets = ids.masked_fill(mask == 0, IGNORED)[:, 1:]
        total = functional.cross_entropy(
            logits.float().flatten(0, 1),
            targets.flatten(),
            ignore_index=IGNORED,
            label_smoothing=self.config.label_smoothing,
            reduction="sum",
        )
        return mean_over_all(total, (targets != IGNORED).sum())

    def forward(
        self, pixel_values: Tensor, input_ids: Tensor, attention_mask: Tensor, decoder_start: Tensor, reports: Tensor
    ) -> Stage1Output:
        """Return the losses of image-text pairs.

        Args:
            pixel_values: [batch, 3, size, size] in 0..1.
            input_ids: [batch, tokens], beginning with the tokenizer's class token.
            attention_mask: [batch, tokens], 1 for a token and 0 for padding.
            decoder_start: [batch], the token that stands in place of the class token when the report is written.
            reports: [batch], a number that is the same for the same report.
        """
        patches = self.patches(pixel_values)
        decoder_ids = torch.cat((decoder_start[:, None], input_ids[:, 1:]), dim=1)
        # The queries see no text under this mask, so one pass gives what both other losses need of them.
        queries, written = self.query_transformer.with_text(
            patches, self.text_embeddings(decoder_ids), attention_mask, "multimodal_causal"
        )
        images, texts = self.image_features(queries), self.text_features(input_ids, attention_mask)
        contrastive, negative_images, negative_texts = self._contrastive(images, texts, reports)
        matching = self._matching(patches, input_ids, attention_mask, negative_images, negative_texts)
        language = self.language_loss(written, decoder_ids, attention_mask)
        return Stage1Output(contrastive + matching + language, contrastive, matching, language)

    def _contrastive(
        self, images: Tensor, texts: Tensor, reports: Tensor
    ) -> tuple[Tensor, tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
        rank, _ = world()
        mine = slice(rank * len(images), (rank + 1) * len(images))
        all_images, all_texts, all_reports = gather(images), gather(texts), gather(reports)
        same = all_reports[:, None] == all_reports[None, :]
        to_texts = similarity(images, all_texts) / self.temperature  # [batch, all]
        to_images = similarity(all_images, texts).T / self.temperature
        smoothing = self.config.label_smoothing
        loss = sum(soft_cross_entropy(logits.float(), same[mine], smoothing) for logits in (to_texts, to_images)) / 2
        with torch.no_grad():
            # Drawn over all rows and cut: processes together choose as one with the whole batch would.
            scores = similarity(all_images, all_texts) / self.temperature
            seed = shared_seed(scores.device)
            negative_images = draw_negatives(scores.T, same, seed)
            negative_texts = draw_negatives(scores, same, seed + 1)
        cut = [(chosen[mine], there[mine]) for chosen, there in (negative_images, negative_texts)]
        return torch.as_tensor(loss), cut[0], cut[1]

    def _matching(
        self,
        patches: Tensor,
        ids: Tensor,
        mask: Tensor,
        negative_images: tuple[Tensor, Tensor],
        negative_texts: tuple[Tensor, Tensor],
    ) -> Tensor:
        all_ids, all_masks = gather_padded(ids, 0), gather_padded(mask, 0)
        missing = all_ids.shape[1] - ids.shape[1]
        ids, mask = (functional.pad(tensor, (0, missing)) for tensor in (ids, mask))
        (images, has_image), (texts, has_text) = negative_images, negative_texts
        logits = self.matching_logits(
            torch.cat((patches, gather(patches)[images], patches)),
            torch.cat((ids, ids, all_ids[texts])),
            torch.cat((mask, mask, all_masks[texts])),
        )
        batch = len(ids)
        labels = torch.zeros(3 * batch, dtype=torch.long, device=ids.device)
        labels[:batch] = 1
        counted = torch.cat((torch.ones_like(has_image), has_image, has_text))
        losses = functional.cross_entropy(logits.float(), labels, reduction="none")
        return mean_over_all((losses * counted).sum(), counted.sum())

    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)  # type: ignore[no-untyped-call]
        if isinstance(module, AlignStage1Model):
            init.constant_(module.temperature, self.config.temperature)
        elif isinstance(module, LanguageHead):
            init.zeros_(module.bias)
